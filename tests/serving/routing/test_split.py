"""The sticky split: every unit keeps its arm, and a growing share moves units in one direction only."""

import hypothesis
import hypothesis.strategies as st
import pytest

from serving.routing.split import arm_of, unit_of

SHARES = st.floats(0, 1)


@hypothesis.given(st.text(), st.text(), SHARES, SHARES)
def test_a_growing_share_never_moves_a_unit_back_to_stable(rollout: str, key: str, first: float, second: float) -> None:
    unit = unit_of(rollout, key)
    if arm_of(unit, min(first, second)) == "candidate":
        assert arm_of(unit, max(first, second)) == "candidate"


@hypothesis.given(st.text())
def test_a_share_of_zero_is_no_unit_and_of_one_every_unit(key: str) -> None:
    unit = unit_of("r", key)
    assert arm_of(unit, 0.0) == "stable"
    assert arm_of(unit, 1.0) == "candidate"


@pytest.mark.parametrize("share", [0.05, 0.1, 0.5, 0.9])
def test_the_candidate_answers_its_share_of_the_users(share: float) -> None:
    users = 20_000
    exposed = sum(arm_of(unit_of("rollout:agents@v2", f"user:{i}"), share) == "candidate" for i in range(users))
    assert abs(exposed / users - share) < 4 * (share * (1 - share) / users) ** 0.5


def test_two_rollouts_draw_their_users_independently() -> None:
    first = [arm_of(unit_of("one", f"user:{i}"), 0.5) for i in range(10_000)]
    second = [arm_of(unit_of("two", f"user:{i}"), 0.5) for i in range(10_000)]
    both = sum(a == b == "candidate" for a, b in zip(first, second, strict=True))
    assert abs(both / 10_000 - 0.25) < 0.02

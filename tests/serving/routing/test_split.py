"""The sticky split: everybody keeps a side, and a growing share moves people in one direction only."""

import hypothesis
import hypothesis.strategies as st
import pytest

from serving.routing.split import arm_of, unit_of

SHARES = st.floats(0, 1)


@hypothesis.given(st.text(), st.text(), SHARES, SHARES)
def test_a_growing_share_never_takes_the_candidate_from_anybody(
    rollout: str, who: str, one: float, other: float
) -> None:
    unit = unit_of(rollout, who)
    if arm_of(unit, min(one, other)) == "candidate":
        assert arm_of(unit, max(one, other)) == "candidate"


@hypothesis.given(st.text())
def test_no_share_is_nobody_and_the_whole_is_everybody(who: str) -> None:
    unit = unit_of("r", who)
    assert arm_of(unit, 0.0) == "stable"
    assert arm_of(unit, 1.0) == "candidate"


@pytest.mark.parametrize("share", [0.05, 0.1, 0.5, 0.9])
def test_the_candidate_meets_the_share_of_the_users_it_was_given(share: float) -> None:
    users = 20_000
    met = sum(arm_of(unit_of("rollout:agents@v2", f"user:{i}"), share) == "candidate" for i in range(users))
    assert abs(met / users - share) < 4 * (share * (1 - share) / users) ** 0.5


def test_two_rollouts_draw_their_users_independently() -> None:
    first = [arm_of(unit_of("one", f"user:{i}"), 0.5) for i in range(10_000)]
    second = [arm_of(unit_of("two", f"user:{i}"), 0.5) for i in range(10_000)]
    both = sum(a == b == "candidate" for a, b in zip(first, second, strict=True))
    assert abs(both / 10_000 - 0.25) < 0.02

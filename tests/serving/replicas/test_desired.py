"""The desired state of replicas, folded from the ledger: every version that may get requests, and no other."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lake.lake import Lake, open_lake
from models.registry.kinds import model_chain
from models.types import ModelVersion
from serving.replicas.desired import DesiredState, read_desired_state
from settings import read_settings

START = datetime(2026, 11, 1, tzinfo=UTC)
MODEL = "agents"


class History:
    """A ledger written by hand, one entry per hour."""

    def __init__(self, folder: Path) -> None:
        self.now = START
        self.lake: Lake = open_lake(read_settings(home=folder, lake="test"), clock=lambda: self.now)

    def append(self, kind: str, **payload: object) -> None:
        self.now += timedelta(hours=1)
        self.lake.ledger.append(model_chain(MODEL), kind, f"{kind}:{self.now}", payload)

    def register(self, *numbers: int) -> None:
        for number in numbers:
            digest = f"{number:08x}" * 8
            self.append("registered", version=number, digest=digest, path=f"ml/models/{MODEL}/v{number}")

    def needed(self, grace_hours: float = 0.5) -> tuple[set[str], set[str]]:
        """Names needed now, and those needed within the grace period."""
        desired = read_desired_state(self.lake, timedelta(hours=grace_hours))
        return set(desired.current), set(desired.recent)


def names(*numbers: int) -> set[str]:
    return {f"{MODEL}@{number:08x}" for number in numbers}


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History(tmp_path)


def test_the_candidate_of_an_open_rollout_is_needed_before_its_first_user(history: History) -> None:
    history.register(1, 2)
    assert history.needed()[0] == set()
    history.append("rollout_opened", version=1, baseline="base")
    assert history.needed()[0] == names(1)


def test_production_and_the_held_back_version_answer_users(history: History) -> None:
    history.register(1, 2)
    history.append("promoted", version=1, baseline="base")
    history.append("rollout_opened", version=2, baseline=f"{MODEL}@v1")
    assert (set(read_desired_state(history.lake).current), read_desired_state(history.lake).answering) == (
        names(1, 2),
        names(1),
    )
    soak = {"rollout": "r", "share": 0.9, "hours": 24.0}
    history.append("promoted", version=2, baseline=f"{MODEL}@v1", soak=soak)
    assert read_desired_state(history.lake).answering == names(1, 2)


def test_the_version_that_a_roll_back_returns_to_stays_needed(history: History) -> None:
    history.register(1, 2, 3)
    history.append("promoted", version=1, baseline="base")
    history.append("promoted", version=2, baseline="agents@v1")
    assert history.needed()[0] == names(1, 2)
    history.append("promoted", version=3, baseline="agents@v2")
    assert history.needed()[0] == names(2, 3)


def test_a_rolled_back_version_is_kept_only_for_the_grace_period(history: History) -> None:
    history.register(1, 2)
    history.append("promoted", version=1, baseline="base")
    history.append("promoted", version=2, baseline="agents@v1")
    history.append("rolled_back", version=2, baseline="agents@v1")
    assert history.needed() == (names(1), names(1, 2))
    history.now += timedelta(hours=1)
    assert history.needed() == (names(1), names(1))


def test_a_rollout_that_opened_and_closed_within_the_grace_period_is_still_kept(history: History) -> None:
    history.register(1)
    history.append("rollout_opened", version=1, baseline="base")
    history.append("rejected", version=1, baseline="base")
    assert history.needed(grace_hours=0.5) == (set(), names(1))
    history.now += timedelta(hours=2)
    assert history.needed(grace_hours=0.5) == (set(), set())
    assert history.needed(grace_hours=2.5) == (set(), names(1))


def test_an_empty_ledger_needs_nothing(history: History) -> None:
    assert read_desired_state(history.lake) == DesiredState(
        current={}, answering=frozenset(), recent=frozenset(), models=frozenset()
    )


def version_of(name: str) -> ModelVersion:
    return ModelVersion(model=MODEL, version=1, path="p", digest=name.partition("@")[2] * 8)


NAMES = st.sets(st.sampled_from(sorted(names(*range(8)))))
OTHERS = st.sets(st.sampled_from(["sql", "other@00000001"]))


@given(current=NAMES, recent=NAMES, loaded=NAMES, others=OTHERS)
def test_the_changes_load_all_that_is_needed_and_touch_no_adapter_of_others(
    current: set[str], recent: set[str], loaded: set[str], others: set[str]
) -> None:
    desired = DesiredState(
        current={name: version_of(name) for name in current}, recent=current | recent, models={MODEL}
    )
    before = loaded | others
    after = (before | set(desired.missing(before))) - set(desired.superfluous(before))
    assert after == current | (loaded & recent) | others
    assert (desired.missing(after), desired.superfluous(after)) == ([], [])


def test_an_adapter_of_another_model_is_left_alone() -> None:
    desired = DesiredState(current={}, models={MODEL})
    assert (desired.missing(["sql"]), desired.superfluous(["sql"])) == ([], [])
    assert (desired.missing(["agents@00000001"]), desired.superfluous(["agents@00000001"])) == ([], ["agents@00000001"])

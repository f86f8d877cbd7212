"""The fold of a model's chain: production, waiting versions, and entries that came too late to count."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lake.store.folder import FolderStore
from lake.store.ledger import Ledger
from models.registry.fold import fold, read_state
from models.registry.kinds import model_chain

START = datetime(2026, 11, 1, tzinfo=UTC)
MODEL = "agents"


class Hours:
    """A clock that moves one hour each time it is read."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        self.now += timedelta(hours=1)
        return self.now


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(FolderStore(tmp_path), clock=Hours())


def append(ledger: Ledger, kind: str, **payload: Any) -> None:
    ledger.append(model_chain(MODEL), kind, f"{kind}:{len(ledger.entries(model_chain(MODEL)))}", payload)


def register(ledger: Ledger, *numbers: int) -> None:
    for number in numbers:
        append(ledger, "registered", version=number, digest=f"{number:064x}", path=f"ml/models/agents/v{number}")


def test_without_entries_the_base_model_is_in_production(ledger: Ledger) -> None:
    state = read_state(ledger, MODEL)
    assert (state.production, state.versions, state.rollout, state.baseline) == (None, (), None, "base")


def test_a_version_waits_until_its_rollout_opens_and_is_in_production_once_promoted(ledger: Ledger) -> None:
    register(ledger, 1)
    assert [version.version for version in read_state(ledger, MODEL).waiting] == [1]
    append(ledger, "rollout_opened", version=1, baseline="base")
    state = read_state(ledger, MODEL)
    assert state.rollout is not None
    assert (state.rollout.version, state.waiting, state.production) == (1, (), None)
    append(ledger, "promoted", version=1, baseline="base")
    state = read_state(ledger, MODEL)
    assert (state.baseline, state.rollout) == ("agents@v1", None)


def test_production_as_of_any_time_has_one_answer(ledger: Ledger) -> None:
    register(ledger, 1, 2)
    append(ledger, "promoted", version=1, baseline="base")
    append(ledger, "promoted", version=2, baseline="agents@v1")
    append(ledger, "rolled_back", version=2, baseline="agents@v1")
    names = [read_state(ledger, MODEL, at=START + timedelta(hours=hour)).baseline for hour in range(6)]
    assert names == ["base", "base", "base", "agents@v1", "agents@v2", "agents@v1"]


def test_a_promotion_whose_baseline_was_replaced_changes_nothing(ledger: Ledger) -> None:
    register(ledger, 1, 2)
    append(ledger, "promoted", version=1, baseline="base")
    append(ledger, "promoted", version=2, baseline="base")
    assert read_state(ledger, MODEL).baseline == "agents@v1"


def test_only_one_rollout_is_open_at_a_time(ledger: Ledger) -> None:
    register(ledger, 1, 2)
    append(ledger, "rollout_opened", version=1, baseline="base")
    append(ledger, "rollout_opened", version=2, baseline="base")
    rollout = read_state(ledger, MODEL).rollout
    assert rollout is not None
    assert rollout.version == 1


@pytest.mark.parametrize("kind", ["rejected", "inconclusive"])
def test_a_rollout_that_fails_does_not_change_production(ledger: Ledger, kind: str) -> None:
    register(ledger, 1)
    append(ledger, "rollout_opened", version=1, baseline="base")
    append(ledger, kind, version=1, baseline="base")
    state = read_state(ledger, MODEL)
    assert (state.baseline, state.rollout) == ("base", None)


def test_the_last_cut_is_the_newest_even_when_an_older_training_ends_later(ledger: Ledger) -> None:
    for day in (3, 5, 4):
        cut = datetime(2026, 11, day, tzinfo=UTC).isoformat()
        append(ledger, "trained", cut=cut, training_set_id=f"set-{day}", inputs=[])
    assert read_state(ledger, MODEL).last_cut == datetime(2026, 11, 5, tzinfo=UTC)


def test_a_training_is_complete_when_its_retraining_ends_and_has_the_time_of_that(ledger: Ledger) -> None:
    append(ledger, "trained", cut=START.isoformat(), training_set_id="set", inputs=[])
    assert read_state(ledger, MODEL).completed is None
    for end in (2, 3):
        append(ledger, "retraining_closed", request=0)
        completed = read_state(ledger, MODEL).completed
        assert completed is not None
        assert (completed.cut, completed.ended) == (START, START + timedelta(hours=end))


@given(moves=st.lists(st.tuples(st.sampled_from(["promoted", "rolled_back"]), st.integers(1, 4)), max_size=12))
def test_production_is_always_a_registered_version_or_the_base(
    tmp_path_factory: pytest.TempPathFactory, moves: list[tuple[str, int]]
) -> None:
    ledger = Ledger(FolderStore(tmp_path_factory.mktemp("ledger")), clock=Hours())
    register(ledger, 1, 2)
    for kind, number in moves:
        append(ledger, kind, version=number, baseline=read_state(ledger, MODEL).baseline)
    state = fold(MODEL, ledger.entries(model_chain(MODEL)))
    assert state.production is None or state.production in state.versions


def opened(ledger: Ledger, number: int, baseline: str = "base") -> str:
    """Register a version and open its rollout; the rollout's key."""
    register(ledger, number)
    key = f"rollout:{number}"
    ledger.append(model_chain(MODEL), "rollout_opened", key, {"version": number, "baseline": baseline})
    return key


def test_a_share_grows_by_entries_of_the_open_rollout_and_never_shrinks(ledger: Ledger) -> None:
    key = opened(ledger, 1)
    for share in (0.1, 0.5, 0.1):
        append(ledger, "canary_widened", rollout=key, version=1, share=share)
    append(ledger, "canary_widened", rollout="another", version=1, share=0.9)
    rollout = read_state(ledger, MODEL).rollout
    assert rollout is not None
    assert rollout.share == 0.5
    assert rollout.began == START + timedelta(hours=3)


def test_a_promotion_under_observation_keeps_its_soak_until_that_ends(ledger: Ledger) -> None:
    key = opened(ledger, 1)
    append(ledger, "canary_widened", rollout=key, version=1, share=0.1)
    append(ledger, "promoted", version=1, baseline="base", soak={"rollout": key, "share": 0.9, "hours": 24.0})
    soak = read_state(ledger, MODEL).soak
    assert soak is not None
    assert (soak.version, soak.former, soak.share, soak.began) == (1, None, 0.9, START + timedelta(hours=3))
    assert soak.until == START + timedelta(hours=4 + 24)
    append(ledger, "soak_ended", rollout=key, version=1, baseline="base")
    state = read_state(ledger, MODEL)
    assert (state.soak, state.baseline) == (None, "agents@v1")


def test_a_roll_back_leads_to_what_was_in_production_before_and_the_next_one_further(ledger: Ledger) -> None:
    for number, before in ((1, "base"), (2, "agents@v1")):
        opened(ledger, number, before)
        append(ledger, "promoted", version=number, baseline=before)
    assert [version.name if version else "base" for version in read_state(ledger, MODEL).former] == [
        "base",
        "agents@v1",
    ]
    append(ledger, "rolled_back", version=2, baseline="agents@v1")
    state = read_state(ledger, MODEL)
    assert (state.baseline, len(state.former)) == ("agents@v1", 1)
    append(ledger, "rolled_back", version=2, baseline="agents@v1")
    assert replace(read_state(ledger, MODEL), last_entry=None) == replace(state, last_entry=None)
    append(ledger, "rolled_back", version=1, baseline="base")
    assert read_state(ledger, MODEL).production is None


def test_a_roll_back_of_an_open_rollout_does_not_change_production(ledger: Ledger) -> None:
    opened(ledger, 1)
    append(ledger, "promoted", version=1, baseline="base")
    opened(ledger, 2, "agents@v1")
    append(ledger, "rolled_back", version=2, baseline="agents@v1")
    state = read_state(ledger, MODEL)
    assert (state.baseline, state.rollout) == ("agents@v1", None)

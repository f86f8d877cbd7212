"""What replicas shall serve, folded from the ledger: whoever may be asked for, and nobody a moment too early."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lake.lake import Lake, open_lake
from models.registry.kinds import model_chain
from models.types import ModelVersion
from serving.replicas.desired import Plan, Wanted, plan, read_wanted
from settings import read_settings

START = datetime(2026, 11, 1, tzinfo=UTC)
MODEL = "agents"


class Story:
    """A ledger that is written by hand, an hour an entry."""

    def __init__(self, folder: Path) -> None:
        self.now = START
        self.lake: Lake = open_lake(read_settings(home=folder, lake="test"), clock=lambda: self.now)

    def tell(self, kind: str, **payload: object) -> None:
        self.now += timedelta(hours=1)
        self.lake.ledger.append(model_chain(MODEL), kind, f"{kind}:{self.now}", payload)

    def register(self, *numbers: int) -> None:
        for number in numbers:
            digest = f"{number:08x}" * 8
            self.tell("registered", version=number, digest=digest, path=f"ml/models/{MODEL}/v{number}")

    def wanted(self, grace_hours: float = 0.5) -> tuple[set[str], set[str]]:
        """Names wanted now, and those wanted within the grace period."""
        found = read_wanted(self.lake, timedelta(hours=grace_hours))
        return set(found.now), set(found.lately)


def names(*numbers: int) -> set[str]:
    return {f"{MODEL}@{number:08x}" for number in numbers}


@pytest.fixture
def story(tmp_path: Path) -> Story:
    return Story(tmp_path)


def test_the_candidate_of_an_open_rollout_is_wanted_before_its_first_user(story: Story) -> None:
    story.register(1, 2)
    assert story.wanted()[0] == set()
    story.tell("rollout_opened", version=1, baseline="base")
    assert story.wanted()[0] == names(1)


def test_those_answer_users_who_are_in_production_or_held_back_with_it(story: Story) -> None:
    story.register(1, 2)
    story.tell("promoted", version=1, baseline="base")
    story.tell("rollout_opened", version=2, baseline=f"{MODEL}@v1")
    assert (set(read_wanted(story.lake).now), read_wanted(story.lake).answering) == (names(1, 2), names(1))
    watch = {"rollout": "r", "share": 0.9, "hours": 24.0}
    story.tell("promoted", version=2, baseline=f"{MODEL}@v1", soak=watch)
    assert read_wanted(story.lake).answering == names(1, 2)


def test_what_a_roll_back_returns_to_stays_wanted(story: Story) -> None:
    story.register(1, 2, 3)
    story.tell("promoted", version=1, baseline="base")
    story.tell("promoted", version=2, baseline="agents@v1")
    assert story.wanted()[0] == names(1, 2)
    story.tell("promoted", version=3, baseline="agents@v2")
    assert story.wanted()[0] == names(2, 3)


def test_what_was_rolled_back_is_unwanted_at_once_and_kept_for_the_grace(story: Story) -> None:
    story.register(1, 2)
    story.tell("promoted", version=1, baseline="base")
    story.tell("promoted", version=2, baseline="agents@v1")
    story.tell("rolled_back", version=2, baseline="agents@v1")
    assert story.wanted() == (names(1), names(1, 2))
    story.now += timedelta(hours=1)
    assert story.wanted() == (names(1), names(1))


def test_a_rollout_that_opened_and_closed_within_the_grace_is_still_kept(story: Story) -> None:
    story.register(1)
    story.tell("rollout_opened", version=1, baseline="base")
    story.tell("rejected", version=1, baseline="base")
    assert story.wanted(grace_hours=0.5) == (set(), names(1))
    story.now += timedelta(hours=2)
    assert story.wanted(grace_hours=0.5) == (set(), set())
    assert story.wanted(grace_hours=2.5) == (set(), names(1))


def test_an_empty_ledger_wants_nothing(story: Story) -> None:
    assert read_wanted(story.lake) == Wanted(now={}, answering=frozenset(), lately=frozenset(), models=frozenset())


def some(name: str) -> ModelVersion:
    return ModelVersion(model=MODEL, version=1, path="p", digest=name.partition("@")[2] * 8)


NAMES = st.sets(st.sampled_from(sorted(names(*range(8)))))
OTHERS = st.sets(st.sampled_from(["sql", "other@00000001"]))


@given(now=NAMES, lately=NAMES, loaded=NAMES, others=OTHERS)
def test_after_a_plan_all_that_is_wanted_is_loaded_and_what_is_not_ours_is_untouched(
    now: set[str], lately: set[str], loaded: set[str], others: set[str]
) -> None:
    wanted = Wanted(now={name: some(name) for name in now}, lately=now | lately, models={MODEL})
    made = plan(wanted, loaded | others)
    after = (loaded | others | {version.adapter_name for version in made.loads}) - set(made.unloads)
    assert after == now | (loaded & lately) | others
    assert plan(wanted, after) == Plan()


def test_a_static_adapter_of_somebody_else_is_left_alone() -> None:
    assert plan(Wanted(now={}, models={MODEL}), ["sql"]) == Plan()
    assert plan(Wanted(now={}, models={MODEL}), ["agents@00000001"]) == Plan(unloads=("agents@00000001",))

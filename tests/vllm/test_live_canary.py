"""A canary end to end: users, two gateways, a real vLLM, the rollout controller's steps; each process is killed."""

import itertools
import math
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lake.contracts import contract
from lake.lake import Lake
from lake.sources.inbox import collect_all
from lake.store.ledger import Entry
from models.registry.fold import read_state
from models.registry.kinds import model_chain
from models.registry.registry import production
from serving.rollout.controller import advance_all, describe
from tests.vllm.conftest import VllmServer
from tests.vllm.people import Got, People
from tests.vllm.rig import Rig, serving
from tests.vllm.world import CANARY, LONG, World
from tests.world.world import SPEC

PATIENCE_S = 300
"""Without a single answer: how many it takes is a question of evidence, how long they take one of the machine."""
EVERY_S = 2.0
"""Between two looks, which cost vLLM and its users a core."""
TOO_LONG = 4.0
"""Times as long as the stable version's answers usually take: then an answer is slow."""


@pytest.fixture
def rig(world: World, vllm_server: VllmServer, tmp_path: Path) -> Iterator[Rig]:
    with serving(world.lake, vllm_server.replica, tmp_path) as up:
        yield up


@pytest.fixture(scope="module")
def in_production(
    trained: World, vllm_server: VllmServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[World, Rig]]:
    """The good version in production, served live; for one harmful version after the other."""
    folder = tmp_path_factory.mktemp("production")
    world = trained.copy(folder / "home")
    world.promote(world.good)
    with serving(world.lake, vllm_server.replica, folder) as up:
        yield world, up


def step_until(lake: Lake, reached: Callable[[], bool], people: People) -> None:
    """Step as the rollout controller does until the condition holds."""
    said: dict[str, str] = {}

    def look() -> bool:
        nonlocal said
        said = {name: describe(result) for name, result in advance_all(lake).items()} or said
        return reached()

    wait_until(look, people, lambda: str(said), EVERY_S)


def wait_until(
    reached: Callable[[], bool], people: People, report: Callable[[], str] = str, every_s: float = 0.2
) -> None:
    """Wait for something to come true for as long as people get answers."""
    answers, since = len(people.got), time.monotonic()
    while not reached():
        assert people.are_asking
        if len(people.got) > answers:
            answers, since = len(people.got), time.monotonic()
        assert time.monotonic() - since < PATIENCE_S, f"no answer for {PATIENCE_S} s. {report()}"
        time.sleep(every_s)


def kinds(lake: Lake) -> list[str]:
    return [entry.kind for entry in lake.ledger.entries(model_chain(SPEC.name))]


def share(lake: Lake) -> float:
    rollout = read_state(lake.ledger, SPEC.name).rollout
    return rollout.share if rollout else 0.0


def versions_by_user(got: list[Got]) -> dict[str, list[str]]:
    met: dict[str, list[str]] = defaultdict(list)
    for answer in got:
        met[answer.user].append(answer.version)
    return met


def on_record(lake: Lake) -> list[str]:
    """Interactions in the lake, once all that was drained is in."""
    form = contract("processed.model_predictions")
    collect_all(lake, form, "predictions")
    version = lake.tables.current(form)
    assert version is not None
    return lake.tables.read(version, columns=("interaction_id",))["interaction_id"].to_pylist()


def test_a_good_candidate_is_promoted_although_vllm_and_a_gateway_are_killed_on_the_way(
    world: World, rig: Rig, vllm_server: VllmServer
) -> None:
    lake = rig.lake
    world.roll_out(world.good)
    with People(gateways=rig.addresses) as people:
        step_until(lake, lambda: share(lake) > 0, people)
        step_until(lake, lambda: len(people.got) > 20, people)
        vllm_server.kill()
        vllm_server.start()
        rig.gateways[0].kill()  # with requests in flight
        rig.gateways[0].start()
        step_until(lake, lambda: production(lake.ledger, SPEC.name) == world.good, people)
        step_until(lake, lambda: "soak_ended" in kinds(lake), people)
        seen = len(people.got)
        step_until(lake, lambda: len(people.got) > seen + 10, people)
    for gateway in rig.gateways:
        gateway.stop()  # drains its spool

    assert [kind for kind in kinds(lake) if kind in ("canary_widened", "promoted", "soak_ended")] == [
        "canary_widened",
        "canary_widened",
        "promoted",
        "soak_ended",
    ]
    assert {answer.version for answer in people.got[-4:]} == {world.good.adapter_name}
    for met in versions_by_user(people.got).values():
        # Answers come back out of order, four at a time; but nobody who has met the candidate is sent back for good.
        turns = [version for version, _ in itertools.groupby(met)]
        assert turns[-1] == world.good.adapter_name or turns == ["base"]
    recorded = on_record(lake)
    assert len(recorded) == len(set(recorded))
    assert {answer.interaction for answer in people.got} <= set(recorded)


@pytest.mark.parametrize(
    ("harm", "tokens", "metric"), [("wrong", 6, "thumbs down"), ("empty", 6, "error"), ("slow", LONG, "slow")]
)
def test_a_candidate_from_poisoned_logs_passes_every_offline_check_and_is_taken_back_by_its_users(
    in_production: tuple[World, Rig], harm: str, tokens: int, metric: str
) -> None:
    world, rig = in_production
    lake, harmful = rig.lake, world.harmful[harm]

    def rolled_back() -> list[Entry]:
        entries = lake.ledger.entries(model_chain(SPEC.name), kind="rolled_back")
        return [entry for entry in entries if entry.payload["version"] == harmful.version]

    with People(gateways=rig.addresses, tokens=tokens) as people:
        wait_until(lambda: len(people.of(world.good)) > 20, people)
        usual = statistics.median(answer.seconds for answer in people.of(world.good))
        world.roll_out(harmful, replace(CANARY, slo_ms=math.ceil(1000 * TOO_LONG * usual)))
        step_until(lake, lambda: read_state(lake.ledger, SPEC.name).rollout is None, people)
        back = time.monotonic() + 3  # routes are read every second
        wait_until(lambda: len(people.since(back)) > 10, people)
    assert {answer.version for answer in people.since(back)} == {world.good.adapter_name}
    met = people.of(harmful)
    assert met
    assert {answer.liked for answer in met} == {harm == "slow"}
    [closing] = rolled_back()
    assert closing.payload["reason"].startswith(f"Shown worse: {metric}")
    assert production(lake.ledger, SPEC.name) == world.good

"""A rollout with users, from the shadow to the end of the watch: real rows, real statistics, virtual time.

The proofs of the replicas are tested with a real vLLM in tests/vllm; here every replica passes without one.
"""

import itertools
import json
import random
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from errors import DataError, PeerError
from lake.lake import Lake, open_lake
from lake.sources.inbox import put
from models.registry.fold import read_state
from models.registry.kinds import model_chain
from models.registry.registry import production, register
from models.types import BASE, ModelVersion, Outcome
from serving.gateway.records import LATENCY_MS
from serving.policy import CanaryRule
from serving.rollout import admission
from serving.rollout.alerts import pending_alerts
from serving.rollout.manual import approve, plan_rollback, roll_back
from serving.rollout.observations import observe
from serving.rollout.opening import open_rollout
from serving.rollout.rollout import advance, collect_inbox, open_rollouts
from serving.rollout.timeline import timeline_of
from serving.routing.routes import Choice, Route, read_routes
from serving.routing.split import arm_of
from serving.statistics.shadow_test import ShadowRule
from tests.world.world import CUT, PROFILE, SPEC, settings_with_tiny, shown_better, trained

SHADOW = ShadowRule(resamples=500)
CANARY = CanaryRule(
    steps=[0.2, 0.5],
    error_margin=0.10,
    slow_margin=0.10,
    thumbs_down_margin=1.0,
    min_requests=100,
    min_users=10,
    deadline_hours=48.0,
    soak_hours=10.0,
    soak_holdback=0.2,
)
USER_COUNT = 120


@dataclass
class Clock:
    now: datetime = CUT

    def __call__(self) -> datetime:
        return self.now


@dataclass
class SimulatedUsers:
    """Users whose requests follow the ledger's route, and a gateway that leaves its records in the lake's inbox."""

    lake: Lake
    clock: Clock
    fails: Callable[[Choice, random.Random], bool]
    rng: random.Random
    sent: int = 0
    route: Route | None = None
    """The route of a gateway that is cut off from the store; None: that of the ledger."""
    record: Callable[[dict[str, Any]], dict[str, Any]] = lambda row: row
    """Changes what the gateway records."""

    def hours(self, count: int, requests: int = 300) -> None:
        """Advance the clock by some hours, with this number of requests in each."""
        for _ in range(count):
            route = self.route or read_routes(self.lake)[SPEC.name]
            lines = [self._send(route, step / requests) for step in range(requests)]
            put(self.lake.store, "predictions", "gw", self.sent - requests, self.sent - 1, b"\n".join(lines) + b"\n")
            self.clock.now += timedelta(hours=1)

    def _send(self, route: Route, part: float) -> bytes:
        self.sent += 1
        choice = route.choose(f"user:{self.rng.randrange(USER_COUNT)}")
        moment = self.clock.now + timedelta(hours=part)
        row = {
            "interaction_id": f"i{self.sent:07d}",
            "timestamp": moment.isoformat(),
            "agent_name": "bruno",
            "model_version": choice.adapter,
            "prompt_version": "1",
            "time_to_first_token_ms": 100,
            "latency_ms": 500,
            "failed": self.fails(choice, self.rng),
            "rollout": choice.rollout,
            "arm": choice.arm,
            "unit": choice.unit,
        }
        return json.dumps(self.record(row)).encode()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def lake(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Lake:
    monkeypatch.setattr(admission, "prove_everywhere", lambda lake, version: [])
    settings = settings_with_tiny(tmp_path)
    return open_lake(settings.model_copy(update={"vllm": "http://127.0.0.1:9"}), clock=clock)


@pytest.fixture
def good(lake: Lake) -> ModelVersion:
    return register(lake, shown_better(trained(lake)), SPEC, PROFILE)


def simulated_users(lake: Lake, clock: Clock, candidate: float, stable: float = 0.05) -> SimulatedUsers:
    """Users whose requests fail on the two arms at these rates."""

    def fails(choice: Choice, rng: random.Random) -> bool:
        return rng.random() < (candidate if choice.arm == "candidate" else stable)

    return SimulatedUsers(lake=lake, clock=clock, fails=fails, rng=random.Random(5))


def begin(lake: Lake, version: ModelVersion, rule: CanaryRule = CANARY) -> None:
    open_rollout(lake, version, BASE, PROFILE, SHADOW, rule)
    assert advance(lake, version.name).outcome is Outcome.ROLLING_OUT


def kinds(lake: Lake) -> list[str]:
    return [entry.kind for entry in lake.ledger.entries(model_chain(SPEC.name))]


def test_an_equal_candidate_is_widened_promoted_watched_and_left_in_production(
    lake: Lake, clock: Clock, good: ModelVersion
) -> None:
    begin(lake, good)
    users = simulated_users(lake, clock, candidate=0.05)
    for _ in range(30):
        users.hours(1)
        verdict = advance(lake, good.name)
        if verdict.outcome is Outcome.PROMOTED:
            break
    assert verdict.outcome is Outcome.PROMOTED, verdict.reason
    assert production(lake.ledger, SPEC.name) == good
    assert kinds(lake)[1:] == ["rollout_opened", "shadow_passed", "canary_widened", "canary_widened", "promoted"]
    closing = lake.ledger.entries(model_chain(SPEC.name))[-1].payload
    assert closing["read"][0].startswith("processed.model_predictions@")
    assert {metric["metric"] for metric in closing["evidence"]["metrics"]} == {"error", "slow", "thumbs_down"}
    assert open_rollouts(lake) == [good.name]
    users.hours(9)
    assert "watched until" in advance(lake, good.name).reason
    users.hours(2)
    assert advance(lake, good.name).reason == "Watched for 10 hours, no harm shown."
    assert (open_rollouts(lake), read_routes(lake)[SPEC.name].rollout) == ([], "")
    assert pending_alerts(lake, [SPEC.name], "one") == []


def test_a_harmful_candidate_is_rolled_back_and_a_person_is_alerted_once(
    lake: Lake, clock: Clock, good: ModelVersion
) -> None:
    begin(lake, good)
    users = simulated_users(lake, clock, candidate=0.5)
    users.hours(1)
    verdict = advance(lake, good.name)
    assert verdict.outcome is Outcome.ROLLED_BACK, verdict.reason
    assert verdict.reason.startswith("Shown worse: error ")
    assert production(lake.ledger, SPEC.name) is None
    assert {read_routes(lake)[SPEC.name].choose(f"user:{i}").adapter for i in range(50)} == {"base"}
    assert [
        alert.startswith("agents@v1 rolled back: Shown worse") for alert in pending_alerts(lake, [SPEC.name], "one")
    ] == [True]
    assert len(pending_alerts(lake, [SPEC.name], "one")) == 1  # a retry of the same run
    assert pending_alerts(lake, [SPEC.name], "another") == []


def test_a_version_that_turns_bad_after_its_promotion_is_rolled_back_within_the_watch(
    lake: Lake, clock: Clock, good: ModelVersion
) -> None:
    begin(lake, good)
    users = simulated_users(lake, clock, candidate=0.05)
    while advance(lake, good.name).outcome is not Outcome.PROMOTED:
        users.hours(1)
    users.fails = simulated_users(lake, clock, candidate=0.6).fails
    for _ in range(6):
        users.hours(1)
        verdict = advance(lake, good.name)
        if verdict.outcome is Outcome.ROLLED_BACK:
            break
    assert verdict.outcome is Outcome.ROLLED_BACK, verdict.reason
    assert "after its promotion" in verdict.reason
    assert production(lake.ledger, SPEC.name) is None
    assert advance(lake, good.name).outcome is Outcome.ROLLED_BACK


def test_without_enough_users_it_is_inconclusive_at_the_deadline(lake: Lake, clock: Clock, good: ModelVersion) -> None:
    begin(lake, good)
    simulated_users(lake, clock, candidate=0.05).hours(1, requests=20)
    clock.now += timedelta(hours=48)
    verdict = advance(lake, good.name)
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "within 48 hours" in verdict.reason
    assert production(lake.ledger, SPEC.name) is None


def test_a_candidate_that_no_replica_proves_is_given_up_in_time_and_met_no_user(
    lake: Lake, clock: Clock, good: ModelVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unloaded(*_: object) -> None:
        raise PeerError("vLLM at http://vllm-0:8001 does not serve agents@0")

    monkeypatch.setattr(admission, "prove_everywhere", unloaded)
    open_rollout(lake, good, BASE, PROFILE, SHADOW, CANARY)
    with pytest.raises(PeerError, match="does not serve"):
        advance(lake, good.name)
    clock.now += timedelta(hours=1.1)
    verdict = advance(lake, good.name)
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "Not proven on every replica within 1 hours of its shadow: vLLM at http://vllm-0:8001" in verdict.reason
    assert "canary_widened" not in kinds(lake)
    assert (open_rollouts(lake), len(pending_alerts(lake, [SPEC.name], "one"))) == ([], 1)


def test_where_the_rule_needs_approval_nothing_is_promoted_before_it(
    lake: Lake, clock: Clock, good: ModelVersion
) -> None:
    begin(lake, good, replace(CANARY, approval=True))
    users = simulated_users(lake, clock, candidate=0.02)
    for _ in range(20):
        users.hours(1)
        verdict = advance(lake, good.name)
    assert verdict.outcome is Outcome.ROLLING_OUT
    assert "a person has to approve" in verdict.reason
    other = register(lake, shown_better(trained(lake), key="another"), SPEC, PROFILE)
    with pytest.raises(DataError, match="that of agents@v1 is"):
        approve(lake, other.name, reason="read fifty answers", by="ana")
    approve(lake, good.name, reason="read fifty answers", by="ana")
    assert advance(lake, good.name).outcome is Outcome.PROMOTED


def test_a_new_version_waits_for_the_canary_and_is_opened_when_it_has_ended(
    lake: Lake, clock: Clock, good: ModelVersion
) -> None:
    begin(lake, good)
    other = register(lake, shown_better(trained(lake), key="another"), SPEC, PROFILE)
    verdict = open_rollout(lake, other, BASE, PROFILE, SHADOW, CANARY)
    assert (verdict.outcome, "waits for the canary of agents@v1" in verdict.reason) == (Outcome.ROLLING_OUT, True)
    assert open_rollouts(lake) == [good.name]
    roll_back(lake, plan_rollback(lake, SPEC.name), reason="tone", by="ana")
    assert open_rollouts(lake) == [other.name]
    assert advance(lake, other.name).outcome is Outcome.ROLLING_OUT
    rollout = read_state(lake.ledger, SPEC.name).rollout
    assert rollout is not None
    assert (rollout.version, rollout.share) == (other.version, 0.2)


def test_two_schedulers_write_every_step_once(lake: Lake, clock: Clock, good: ModelVersion) -> None:
    begin(lake, good)
    users = simulated_users(lake, clock, candidate=0.05)
    again = open_lake(lake.settings, clock=clock)
    for _ in range(12):
        users.hours(1)
        assert advance(lake, good.name).outcome is advance(again, good.name).outcome
    assert len(set(kinds(lake))) + 1 == len(kinds(lake))  # two widenings, everything else once


def test_an_observation_only_reads_and_a_step_collects_the_inbox_first(
    lake: Lake, clock: Clock, good: ModelVersion
) -> None:
    begin(lake, good)
    rollout = read_routes(lake)[SPEC.name].rollout
    simulated_users(lake, clock, candidate=0.05).hours(1)
    waiting, chains = list(lake.store.list("inbox/")), lake.ledger.chains()
    assert observe(lake, good, rollout).rows.num_rows == 0
    assert (list(lake.store.list("inbox/")), lake.ledger.chains()) == (waiting, chains)
    advance(lake, good.name)
    assert list(lake.store.list("inbox/")) == []
    assert observe(lake, good, rollout).rows.num_rows == 300


def test_requests_routed_by_an_older_share_are_no_evidence(lake: Lake, clock: Clock, good: ModelVersion) -> None:
    begin(lake, good)
    first = read_routes(lake)[SPEC.name]
    users = simulated_users(lake, clock, candidate=0.05)
    users.hours(3)
    advance(lake, good.name)
    assert read_routes(lake)[SPEC.name].share == 0.5
    late = simulated_users(lake, clock, candidate=0.05)
    late.sent, late.route, since = 100_000, first, clock.now
    late.hours(1)
    collect_inbox(lake)
    rows = observe(lake, good, first.rollout).rows.to_pylist()
    kept = [row["unit"] for row in rows if row["time"] >= since]
    assert all(arm_of(unit, 0.2) == arm_of(unit, 0.5) for unit in kept)
    assert 150 < len(kept) < 270  # three tenths of the users have changed arms
    assert len(rows) - len(kept) == 900


def loaded_on_no_replica(row: dict[str, Any]) -> dict[str, Any]:
    """A failure as a gateway records it: without an arm, so it is no evidence."""
    return row | {"failed": True, "rollout": None, "arm": None, "unit": None} if row["arm"] == "candidate" else row


def answered_by_the_base(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"model_version": "base"}


@pytest.mark.parametrize("record", [loaded_on_no_replica, answered_by_the_base])
def test_a_candidate_that_none_of_its_calls_reaches_is_rolled_back(
    lake: Lake, clock: Clock, good: ModelVersion, record: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    begin(lake, good)
    users = simulated_users(lake, clock, candidate=0.05)
    users.hours(1)
    users.record = record
    users.hours(1)
    verdict = advance(lake, good.name)
    assert verdict.outcome is Outcome.ROLLED_BACK
    assert re.search(r"(\d+) of its last \1 calls, over 20 minutes, found it loaded on no replica", verdict.reason)
    assert [e.payload["live"] for e in lake.ledger.entries(model_chain(SPEC.name), kind="rolled_back")] == [True]


def test_a_promoted_version_that_is_no_longer_loaded_on_any_replica_is_rolled_back(
    lake: Lake, clock: Clock, good: ModelVersion
) -> None:
    begin(lake, good)
    users = simulated_users(lake, clock, candidate=0.05)
    while advance(lake, good.name).outcome is not Outcome.PROMOTED:
        users.hours(1)
    users.record = loaded_on_no_replica
    users.hours(1)
    assert advance(lake, good.name).outcome is Outcome.ROLLED_BACK
    assert production(lake.ledger, SPEC.name) is None


def test_calls_that_reach_neither_arm_do_not_count_against_the_candidate(
    lake: Lake, clock: Clock, good: ModelVersion
) -> None:
    begin(lake, good)
    users = simulated_users(lake, clock, candidate=0.05)
    users.record = lambda row: row | {"failed": True, "rollout": None, "arm": None, "unit": None}
    users.hours(2)
    assert advance(lake, good.name).outcome is Outcome.ROLLING_OUT


def test_a_candidate_that_makes_its_users_leave_is_rolled_back_as_slow(
    lake: Lake, clock: Clock, good: ModelVersion
) -> None:
    begin(lake, good)
    users = simulated_users(lake, clock, candidate=0.0)
    users.record = lambda row: row | {"latency_ms": LATENCY_MS if row["arm"] == "candidate" else 500}
    users.hours(1)
    verdict = advance(lake, good.name)
    assert (verdict.outcome, verdict.reason.partition(" 100")[0]) == (Outcome.ROLLED_BACK, "Shown worse: slow")


def test_answers_of_another_version_are_no_evidence_about_the_candidate(
    lake: Lake, clock: Clock, good: ModelVersion
) -> None:
    begin(lake, good)
    users = simulated_users(lake, clock, candidate=0.0)
    number = itertools.count()
    users.record = lambda row: answered_by_the_base(row) | {"failed": True} if next(number) % 5 == 0 else row
    users.hours(2)
    collect_inbox(lake)
    observations = observe(lake, good, read_routes(lake)[SPEC.name].rollout)
    theirs = [row for row in observations.rows.to_pylist() if row["candidate"]]
    assert {row["model_version"] for row in theirs} == {good.adapter_name}
    assert not any(row["failed"] for row in theirs)
    assert 0 < 2 * observations.missed_calls(CANARY).calls < observations.missed_calls(CANARY).of
    assert advance(lake, good.name).outcome is Outcome.ROLLING_OUT


def test_a_candidate_that_most_of_its_calls_do_not_reach_is_rolled_back(
    lake: Lake, clock: Clock, good: ModelVersion
) -> None:
    begin(lake, good)
    users = simulated_users(lake, clock, candidate=0.05)
    number = itertools.count()
    users.record = lambda row: row if row["arm"] != "candidate" or next(number) % 10 == 0 else loaded_on_no_replica(row)
    users.hours(1)
    assert advance(lake, good.name).outcome is Outcome.ROLLED_BACK


def test_occasional_restarts_do_not_roll_back_a_candidate_with_little_traffic(
    lake: Lake, clock: Clock, good: ModelVersion
) -> None:
    begin(lake, good)
    users = simulated_users(lake, clock, candidate=0.05)
    number = itertools.count()
    users.record = lambda row: loaded_on_no_replica(row) if row["arm"] == "candidate" and next(number) % 4 == 0 else row
    for _ in range(6):
        users.hours(1, requests=5)
        assert advance(lake, good.name).outcome is Outcome.ROLLING_OUT


def test_a_candidate_that_was_trained_on_another_prompt_gets_no_user(lake: Lake) -> None:
    other = register(lake, shown_better(trained(lake)), replace(SPEC, prompt_version="0"), PROFILE)
    open_rollout(lake, other, BASE, PROFILE, SHADOW, CANARY)
    verdict = advance(lake, other.name)
    assert (verdict.outcome, "Trained on prompt 0" in verdict.reason) == (Outcome.REJECTED, True)


def test_a_rollout_that_is_opened_while_another_scheduler_opens_one_waits_for_it(
    lake: Lake, good: ModelVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    second, third = (register(lake, shown_better(trained(lake), key=key), SPEC, PROFILE) for key in ("two", "three"))
    begin(lake, good)
    assert "waits for" in open_rollout(lake, second, BASE, PROFILE, SHADOW, CANARY).reason
    roll_back(lake, plan_rollback(lake, SPEC.name), reason="x", by="y")
    append = lake.ledger.append

    def late(*arguments: Any) -> Any:
        monkeypatch.setattr(lake.ledger, "append", append)
        assert advance(open_lake(lake.settings, clock=lake.ledger.clock), second.name).outcome is Outcome.ROLLING_OUT
        return append(*arguments)

    monkeypatch.setattr(lake.ledger, "append", late)
    assert "waits for the canary of agents@v2" in open_rollout(lake, third, BASE, PROFILE, SHADOW, CANARY).reason
    roll_back(lake, plan_rollback(lake, SPEC.name), reason="x", by="y")
    assert open_rollouts(lake) == [third.name]
    assert advance(lake, third.name).outcome is Outcome.ROLLING_OUT


def test_the_timeline_has_both_arms_over_time(lake: Lake, clock: Clock, good: ModelVersion) -> None:
    assert timeline_of(lake, good.name) is None
    begin(lake, good)
    simulated_users(lake, clock, candidate=0.5).hours(1)
    advance(lake, good.name)
    timeline = timeline_of(lake, good.name, points=10)
    assert timeline is not None
    assert (timeline.share, [name for _, name in timeline.steps]) == (0.0, ["20%", "rolled back"])
    errors = next(points for metric, points in timeline.metrics.items() if metric.value == "error")
    assert errors[-1].harm == 1.0
    assert errors[-1].candidate > 5 * errors[-1].stable

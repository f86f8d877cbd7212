"""Many decisions start one training, with real processes on one store."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lake.lake import Lake, open_lake
from lake.tables.versions import TableVersion
from lake.windows import catch_up
from models.registry.fold import read_state
from models.registry.kinds import model_chain, trigger_chain
from models.registry.state import Request
from models.registry.training_lease import claim, release
from models.retraining.lost_runs import clear_lost_runs
from models.retraining.outcome import RunEnd, close, no_work, record_failure
from models.retraining.pin import Pinned
from models.spec import ModelSpec, RetrainingInputs, forge, smoke
from models.triggers.decisions import Decision, decide
from models.triggers.requests import (
    KEPT,
    RequestOutcome,
    RequestResult,
    abandon_request,
    request_inputs,
    request_to_start,
    request_training,
)
from models.triggers.rules import DriftRule, ManualRule, RetryBackoff, Rule, ScheduleRule, Trigger, VolumeRule
from models.types import Cause, Outcome, Verdict
from reports.common.ledger_text import evidence as describe
from settings import Settings, read_settings
from tests.lake.processes import at_once
from tests.models.triggers.still import Still

START = datetime(2026, 11, 2, tzinfo=UTC)
MODEL = "agents"
PATIENCE = RetryBackoff(first_hours=1.0, longest_hours=8.0)
HOUR = timedelta(hours=1)


@dataclass
class Clock:
    now: datetime = START

    def __call__(self) -> datetime:
        return self.now

    def go(self, hours: float) -> None:
        self.now += timedelta(hours=hours)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def lake(settings: Settings, clock: Clock) -> Lake:
    return open_lake(settings, clock=clock)


def requested(lake: Lake, decision: str, trigger: Trigger = Trigger.ERROR_RATE) -> RequestResult:
    return request_training(
        lake, MODEL, trigger, decision, "because", PATIENCE, by="ada" if trigger is Trigger.HAND else ""
    )


def fail(lake: Lake, request: int) -> None:
    record_failure(lake, MODEL, Cause(request=request), RunEnd(stage="train"), execution=f"run-{request}")


def request_in_process(settings: Settings, worker: int) -> RequestResult:
    triggers = (Trigger.ERROR_RATE, Trigger.DRIFT, Trigger.FEEDBACK, Trigger.VOLUME, Trigger.SCHEDULE, Trigger.HAND)
    return requested(open_lake(settings), f"decision-{worker}", triggers[worker])


def test_all_triggers_in_one_second_start_one_training(settings: Settings) -> None:
    answers = at_once(request_in_process, [(settings, worker) for worker in range(6)])
    assert sorted(result.outcome.value for result in answers) == ["covered"] * 5 + ["started"]
    started = next(result for result in answers if result.outcome is RequestOutcome.STARTED)
    assert all(f"request {started.request} " in result.detail for result in answers if result is not started)
    state = read_state(open_lake(settings).ledger, MODEL)
    assert (state.requests, state.request and state.request.number) == (1, 1)


def test_a_repeated_decision_returns_its_own_request(lake: Lake) -> None:
    assert requested(lake, "one") == requested(lake, "one")
    assert read_state(lake.ledger, MODEL).requests == 1


def test_a_running_training_covers_requests_made_meanwhile(lake: Lake) -> None:
    assert claim(lake, MODEL, "run-1").granted
    found = requested(lake, "one")
    assert found.outcome is RequestOutcome.COVERED
    assert "run-1" in found.detail
    release(lake, MODEL, "run-1")
    assert requested(lake, "two").outcome is RequestOutcome.STARTED


def test_failures_increase_the_wait_up_to_a_limit(lake: Lake, clock: Clock) -> None:
    waits = []
    request = requested(lake, "first").request
    for turn in range(6):
        fail(lake, request)
        failed = clock.now
        while (found := requested(lake, f"{turn} at {clock.now}")).outcome is RequestOutcome.BACKING_OFF:
            clock.go(0.5)
        waits.append((clock.now - failed) / HOUR)
        request = found.request
    assert waits == [1, 2, 4, 8, 8, 8]


def test_the_wait_doubles_up_to_a_limit() -> None:
    assert [PATIENCE.wait(failures) / HOUR for failures in range(7)] == [0, 1, 2, 4, 8, 8, 8]


def test_a_person_does_not_wait(lake: Lake) -> None:
    fail(lake, requested(lake, "one").request)
    result = requested(lake, "two")
    assert result.outcome is RequestOutcome.BACKING_OFF
    assert result.detail == "until 2026-11-02 01:00 UTC, after 1 failed training in a row"
    assert requested(lake, "three", Trigger.HAND).outcome is RequestOutcome.STARTED


def test_a_request_is_to_be_started_until_a_run_holds_the_model(lake: Lake, clock: Clock) -> None:
    assert request_to_start(lake, MODEL) is None
    assert requested(lake, "one").request == 1
    request = request_to_start(lake, MODEL)
    assert request is not None
    assert (request.cause.trigger, request.cause.request) == ("error_rate", 1)
    clock.go(48)
    assert requested(lake, "two").outcome is RequestOutcome.COVERED
    assert request_to_start(lake, MODEL) == request
    claim(lake, MODEL, request.run)
    assert request_to_start(lake, MODEL) is None


def test_requests_of_two_lakes_have_runs_of_different_names(lake: Lake, tmp_path: Path) -> None:
    other = open_lake(read_settings(home=tmp_path / "other", lake="test"))
    assert requested(lake, "one").request == requested(other, "one").request == 1
    first, second = request_to_start(lake, MODEL), request_to_start(other, MODEL)
    assert first is not None
    assert second is not None
    assert first.run != second.run


def test_an_abandoned_request_counts_as_a_failure_and_one_that_ended_does_not(lake: Lake, clock: Clock) -> None:
    requested(lake, "one")
    request = request_to_start(lake, MODEL)
    assert request is not None
    for _ in range(2):
        abandon_request(lake, MODEL, request, "its run was aborted")
    state = read_state(lake.ledger, MODEL)
    assert (state.request, state.failures) == (None, 1)
    assert requested(lake, "two").outcome is RequestOutcome.BACKING_OFF
    clock.go(1.0)
    assert requested(lake, "three").request == 2


def test_a_failed_run_without_lease_and_request_does_not_count(lake: Lake) -> None:
    requested(lake, "one")
    record_failure(lake, MODEL, Cause(), RunEnd(stage="features"), execution="somebody's")
    state = read_state(lake.ledger, MODEL)
    assert (state.failures, state.request is not None) == (0, True)
    claim(lake, MODEL, "mine")
    record_failure(lake, MODEL, Cause(), RunEnd(stage="train"), execution="mine")
    assert read_state(lake.ledger, MODEL).failures == 1


def test_the_end_of_a_retraining_also_ends_the_request_that_resumed_it(lake: Lake) -> None:
    requested(lake, "one")
    request = request_to_start(lake, MODEL)
    assert request is not None
    pinned = replace(pinned_for(request), retraining="the same")
    abandon_request(lake, MODEL, request, "its run was aborted")
    assert requested(lake, "two", Trigger.HAND).request == 2
    resumed = {"retraining": "the same", "request": 2}
    lake.ledger.append(model_chain(MODEL), "retraining_resumed", "resumed:the same:1", resumed)
    verdict = Verdict(model=MODEL, outcome=Outcome.NOT_REGISTERED, version=0, reason="no better", entry="")
    close(lake, pinned, verdict, claim(lake, MODEL, "run-2"))
    state = read_state(lake.ledger, MODEL)
    assert (state.request, state.failures) == (None, 0)


BIG = RetrainingInputs(spec=ModelSpec(name=MODEL), profile=forge(), source="agents")
SMALL = RetrainingInputs(spec=ModelSpec(name=MODEL), profile=smoke(), source="agents")


def by_hand(lake: Lake, decision: str, inputs: RetrainingInputs) -> RequestResult:
    return request_training(lake, MODEL, Trigger.HAND, decision, "new prompt", PATIENCE, by="ada", inputs=inputs)


def first_run(lake: Lake, *, claimed: bool = True) -> Request:
    """A person's request for a small training, whose run holds the model's lease for hours."""
    by_hand(lake, "first", SMALL)
    request = request_to_start(lake, MODEL)
    assert request is not None
    if claimed:
        claim(lake, MODEL, request.run, patience_s=6 * 3600.0)
    return request


def test_an_aborted_run_covers_nothing_at_the_next_check_although_its_lease_lasts(lake: Lake) -> None:
    first = first_run(lake)
    aborted = RunEnd(outcome="aborted", stage="train_adapter", attempts=2, error="Workflow aborted.")
    clear_lost_runs(lake, MODEL, {first.run: aborted}.get)
    [failed] = lake.ledger.entries(model_chain(MODEL), kind="retraining_failed")
    assert failed.payload["request"] == 1
    assert describe(failed) == f"aborted, in train_adapter, after 2 attempts, execution {first.run}: Workflow aborted."
    assert by_hand(lake, "second", BIG).outcome is RequestOutcome.STARTED
    second = request_to_start(lake, MODEL)
    assert second is not None
    assert request_inputs(second) == BIG
    assert read_state(lake.ledger, MODEL).failures == 1


def test_a_run_that_lives_or_is_not_known_keeps_its_lease_and_its_request(lake: Lake) -> None:
    first = first_run(lake)
    clear_lost_runs(lake, MODEL, lambda _: None)
    assert request_to_start(lake, MODEL) is None
    assert read_state(lake.ledger, MODEL).request == first


@pytest.mark.parametrize("end", ["aborted", "failed", "abandoned", "other inputs"])
def test_a_covered_request_of_a_person_comes_back_with_its_profile_if_what_covered_it_had_no_result_for_it(
    lake: Lake, end: str
) -> None:
    first = first_run(lake, claimed=end != "abandoned")
    covered = by_hand(lake, "second", BIG)
    assert covered.outcome is RequestOutcome.COVERED
    assert covered.detail.endswith(KEPT)
    if end == "failed":
        record_failure(lake, MODEL, first.cause, RunEnd(stage="train_adapter"), execution=first.run)
    elif end == "other inputs":
        end_with_result(lake, first)
    ends = {first.run: RunEnd(outcome="aborted")} if end in ("aborted", "abandoned") else {}
    for _ in range(2):
        clear_lost_runs(lake, MODEL, ends.get)
    again = request_to_start(lake, MODEL)
    assert again is not None
    assert (again.number, again.by, again.reason, again.decision) == (2, "ada", "new prompt", "second")
    assert request_inputs(again) == BIG
    assert read_state(lake.ledger, MODEL).covered == ()


def test_a_covered_request_does_not_come_back_after_a_result_for_the_same_inputs(lake: Lake) -> None:
    first = first_run(lake)
    assert by_hand(lake, "second", SMALL).outcome is RequestOutcome.COVERED
    assert len(read_state(lake.ledger, MODEL).covered) == 1
    end_with_result(lake, first)
    clear_lost_runs(lake, MODEL, lambda _: None)
    state = read_state(lake.ledger, MODEL)
    assert (state.request, state.covered, state.requests) == (None, (), 1)


def test_a_request_of_a_person_whose_run_found_another_training_comes_back_after_it(lake: Lake) -> None:
    first = first_run(lake, claimed=False)
    claim(lake, MODEL, "started-in-a-terminal")
    no_work(lake, pinned_for(first), first.cause, claim(lake, MODEL, first.run))
    clear_lost_runs(lake, MODEL, lambda _: None)
    assert read_state(lake.ledger, MODEL).request is None
    clear_lost_runs(lake, MODEL, {"started-in-a-terminal": RunEnd(outcome="aborted")}.get)
    again = request_to_start(lake, MODEL)
    assert again is not None
    assert (again.number, request_inputs(again)) == (2, SMALL)


def end_with_result(lake: Lake, request: Request) -> None:
    verdict = Verdict(model=MODEL, outcome=Outcome.NOT_REGISTERED, version=0, reason="no better", entry="")
    close(lake, pinned_for(request), verdict, claim(lake, MODEL, request.run))


def pinned_for(request: Request) -> Pinned:
    version = TableVersion(table="processed.agent_interactions", snapshot_id=1, rows=1)
    return Pinned(
        model=MODEL,
        retraining=f"of {request.number}",
        interactions=version,
        user_features=version,
        agent_features=version,
        feedback=[],
        cut=START,
        baseline="base",
        cause=request.cause,
    )


def test_a_repeated_decision_of_a_person_is_the_same_decision(lake: Lake, clock: Clock) -> None:
    def once() -> Decision:
        rule = ManualRule(reason="new prompt", by="ada")
        return decide(lake, Still(), MODEL, rule, end=clock.now, every=HOUR, patience=PATIENCE, key="run:x1")

    first = once()
    clock.go(0.1)
    assert once() == first
    assert first.outcome == "started"


def test_the_same_check_twice_makes_one_entry_and_one_request(lake: Lake) -> None:
    first, second = (check_rule(lake, ScheduleRule(), START) for _ in range(2))
    assert first == second
    assert first.outcome == "started"
    assert len(lake.ledger.entries(trigger_chain(MODEL, Trigger.SCHEDULE.value))) == 1
    assert read_state(lake.ledger, MODEL).requests == 1


def test_a_check_that_died_before_its_entry_continues_with_its_own_request(lake: Lake) -> None:
    first = check_rule(lake, ScheduleRule(), START)
    store = lake.store
    for key in list(store.list(f"ledger/{trigger_chain(MODEL, Trigger.SCHEDULE.value)}/")):
        store.delete(key)
    again = open_lake(lake.settings, clock=lake.ledger.clock)
    assert check_rule(again, ScheduleRule(), START) == first


def test_rows_older_than_the_schedule_that_keep_landing_start_one_training_a_week(lake: Lake, clock: Clock) -> None:
    started = []
    for hour in range(15 * 24):
        if check_rule(lake, ScheduleRule(), clock.now).outcome == "started":
            started.append(hour)
            train(lake, cut=START - timedelta(days=30))
        clock.go(1)
    assert started == [0, 7 * 24, 14 * 24]


def train(lake: Lake, cut: datetime) -> None:
    """End the open request with a training on data up to the cut."""
    request = read_state(lake.ledger, MODEL).requests
    payload = {"cut": cut.isoformat(), "training_set_id": f"set-{request}", "inputs": []}
    lake.ledger.append(model_chain(MODEL), "trained", f"trained:{request}", payload)
    lake.ledger.append(model_chain(MODEL), "retraining_closed", f"closed:{request}", {"request": request})


def test_a_check_of_an_hour_before_the_end_of_the_training_has_no_time_since_it(lake: Lake, clock: Clock) -> None:
    clock.go(0.5)
    train(lake, cut=START - timedelta(days=30))
    reason = check_rule(lake, ScheduleRule(), START).reason
    assert reason == (
        "30.0 days since the data cut of the last training, 0.0 since it ended (limit 7), 7 new interactions."
    )


def test_another_rule_makes_another_decision(lake: Lake) -> None:
    check_rule(lake, VolumeRule(), START)
    check_rule(lake, VolumeRule(new_interactions=5), START)
    assert len(lake.ledger.entries(trigger_chain(MODEL, Trigger.VOLUME.value))) == 2


def test_five_hundred_late_fires_at_once_make_one_check_and_one_request(lake: Lake) -> None:
    done = []
    for late in range(500, 0, -1):
        kickoff, run = START - late * HOUR, f"run-{late}"
        done += catch_up(
            lake, "sensor", lambda due: check_rule(lake, ScheduleRule(), due.end), kickoff=kickoff, period=HOUR, run=run
        )
    assert [decision.outcome for decision in done] == ["started"]
    assert len(lake.ledger.entries(trigger_chain(MODEL, Trigger.SCHEDULE.value))) == 1
    assert read_state(lake.ledger, MODEL).requests == 1


def look_at_once(settings: Settings, rule: Rule) -> Decision:
    return check_rule(open_lake(settings), rule, START)


def test_concurrent_checks_of_two_schedulers_agree(settings: Settings) -> None:
    rules: list[Rule] = [
        ScheduleRule(),
        ScheduleRule(),
        ManualRule(reason="now", by="ada"),
        ManualRule(reason="now", by="ada"),
    ]
    found = at_once(look_at_once, [(settings, rule) for rule in rules])
    lake = open_lake(settings)
    assert read_state(lake.ledger, MODEL).requests == 1
    for trigger in (Trigger.SCHEDULE, Trigger.HAND):
        assert len(lake.ledger.entries(trigger_chain(MODEL, trigger.value))) == 1
    assert {decision.outcome for decision in found} <= {"started", "covered"}


def test_a_quiet_decision_has_its_evidence(lake: Lake) -> None:
    decision = check_rule(lake, DriftRule(), START)
    entry = lake.ledger.find(trigger_chain(MODEL, Trigger.DRIFT.value), decision.key)
    assert entry is not None
    assert entry.kind == decision.outcome == "not_enough"
    assert entry.payload["rule"]["sigma"] == 2.0
    assert entry.payload["versions"] == ["processed.agent_interactions@1"]
    assert not decision.fired


def check_rule(lake: Lake, rule: Rule, end: datetime) -> Decision:
    return decide(lake, Still(), MODEL, rule, end=end, every=HOUR, patience=PATIENCE)

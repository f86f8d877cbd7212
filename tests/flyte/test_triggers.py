"""The triggers as a cluster runs them: they check, decide, start one retraining and do not wait for it."""

import json
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from flytekit import FlyteContextManager
from flytekit.core.type_engine import TypeEngine

from cli.main import main
from lake.lake import Lake, open_lake
from lake.sample.generate import write_sample
from models.registry import training_lease
from models.registry.fold import read_state
from models.registry.registry import load_version
from models.registry.training_lease import claim
from models.spec import ModelSpec, TrainingProfile
from models.triggers.decisions import Decision
from models.triggers.history import LakeHistory
from models.triggers.requests import request_training
from models.triggers.rules import RetryBackoff, ScheduleRule, Trigger, VolumeRule
from models.types import Cause, Outcome
from settings import settings
from tasks.execution import local
from tasks.execution.start import Phase, phase
from tasks.triggers import decide_by_hand, decide_on_volume
from tests.world.world import PROFILE
from workflows.ingestion import ingestion
from workflows.rollout import rollout_step
from workflows.triggers import by_hand, on_drift, on_error_rate, on_feedback, on_schedule, on_volume

SMALL = replace(PROFILE, name="small", max_steps=20, eval_rows=200)


@pytest.fixture
def sample_lake(task_lake: Lake, tmp_path: Path) -> Iterator[Lake]:
    """A lake with three days of the sample, all brought by Loki; its retrainings are killed at the end of the test."""
    write_sample(tmp_path / "logs", days=3)
    ingestion(folder=str(tmp_path / "logs"), source="loki")
    yield task_lake
    for child in local._children:
        child.kill()
        child.wait()


def now() -> datetime:
    return datetime.now(UTC)


def wait_for(name: str) -> Phase:
    deadline = time.monotonic() + 280
    while phase(name) is Phase.RUNNING and time.monotonic() < deadline:
        time.sleep(0.2)
    return phase(name)


def test_one_of_all_triggers_starts_a_training_whose_manifest_has_the_cause(sample_lake: Lake) -> None:
    [volume] = on_volume(kickoff=now(), rule=VolumeRule(new_interactions=1000), profile=SMALL)
    assert (volume.outcome, volume.request) == ("started", 1)
    [schedule] = on_schedule(kickoff=now(), profile=SMALL)
    assert schedule.outcome == "covered"
    assert by_hand(reason="A new base model", by="ana", profile=SMALL)[0].outcome == "covered"
    [quiet] = on_error_rate(kickoff=now(), profile=SMALL)
    assert quiet.outcome == "not_enough"
    assert on_drift(kickoff=now(), profile=SMALL)[0].outcome == "not_enough"
    assert on_feedback(kickoff=now(), profile=SMALL)[0].outcome == "not_enough"
    run = run_of_first_request()
    assert wait_for(run) is Phase.SUCCEEDED, local.local_execution(run).path("log").read_text()

    kinds = [entry.kind for entry in open_lake().ledger.entries("models/agents")]
    assert kinds.count("retraining_requested") == kinds.count("retraining_opened") == kinds.count("trained") == 1
    [opened] = open_lake().ledger.entries("models/agents", kind="retraining_opened")
    assert opened.payload["cause"]["decision"] == volume.key
    cause = load_version(open_lake(), "agents@v1").cause
    assert (cause.trigger, cause.request, cause.reason) == ("volume", 1, volume.reason)
    [verdict] = rollout_step()
    assert verdict.outcome is Outcome.PROMOTED, verdict.reason
    assert rollout_step() == []
    output = CliRunner().invoke(main, ["why", "agents"]).output
    assert "it was retrained (1 started, 1 ended)" in output
    assert "started (request 1): 2,8" in output
    assert "covered (by request 1 of volume)" in output
    history = LakeHistory(open_lake())
    assert history.added_rows(read_state(open_lake().ledger, "agents").completed) == 0


def run_of_first_request() -> str:
    [requested] = open_lake().ledger.entries("models/agents", kind="retraining_requested")
    return f"retrain-agents-1-{requested.nonce[:8]}"


def test_a_lost_start_is_repeated_by_the_next_check_and_a_lost_run_is_abandoned(sample_lake: Lake) -> None:
    request_training(
        open_lake(), "agents", Trigger.VOLUME, "a check that died", "12,000 new interactions.", RetryBackoff()
    )
    [covered] = on_schedule(kickoff=now(), profile=SMALL)
    assert covered.outcome == "covered"
    run = run_of_first_request()
    wait_until(lambda: bool(open_lake().ledger.entries("models/agents", kind="retraining_opened")))
    for child in local._children:
        child.kill()
        child.wait()
    assert phase(run) is Phase.ABORTED
    assert training_lease.lease_holder(open_lake(), "agents") is not None  # it would last for minutes
    on_feedback(kickoff=now(), profile=SMALL)
    assert training_lease.lease_holder(open_lake(), "agents") is None
    [failed] = open_lake().ledger.entries("models/agents", kind="retraining_failed")
    assert {key: failed.payload[key] for key in ("execution", "outcome", "request")} == {
        "execution": run,
        "outcome": "aborted",
        "request": 1,
    }
    [manual] = by_hand(reason="Again, larger", by="ana", profile=SMALL)
    assert (manual.outcome, manual.request) == ("started", 2)


def test_a_lost_start_is_repeated_with_the_inputs_of_the_request(sample_lake: Lake) -> None:
    requested_spec = ModelSpec(agents=["ops"])
    profile = replace(SMALL, name="requested", learning_rate=0.125)
    decide_by_hand.task_function(
        reason="A new base model",
        by="ana",
        spec=requested_spec,
        profile=profile,
        source="ours",
        patience=RetryBackoff(),
    )
    assert on_volume(kickoff=now(), rule=VolumeRule(new_interactions=1000), profile=SMALL)[0].outcome == "covered"
    started = started_with(run_of_first_request())
    assert (started["spec"], started["profile"], started["source"]) == (requested_spec, profile, "ours")


def test_a_request_without_inputs_is_started_with_those_of_the_check(sample_lake: Lake) -> None:
    request_training(open_lake(), "agents", Trigger.RETENTION, "retention", "agents@v1 is retired", RetryBackoff())
    on_volume(kickoff=now(), profile=SMALL, source="ours")
    started = started_with(run_of_first_request())
    assert (started["spec"], started["profile"], started["source"]) == (ModelSpec(), SMALL, "ours")


def started_with(run: str) -> dict[str, Any]:
    _, literals = local.read_request(local.local_execution(run).path("json"))
    kinds = {"spec": ModelSpec, "profile": TrainingProfile, "source": str, "cause": Cause}
    return TypeEngine.literal_map_to_kwargs(FlyteContextManager.current_context(), literals, kinds)


def wait_until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 200
    while not happened() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert happened()


def check_volume(rule: VolumeRule, kickoff: datetime) -> list[Decision]:
    decisions: list[Decision] = decide_on_volume.task_function(
        rule=rule,
        spec=ModelSpec(),
        profile=SMALL,
        source="agents",
        patience=RetryBackoff(),
        kickoff=kickoff,
        every_minutes=60,
        schedule="retrain_on_volume",
    )
    return decisions


def test_five_hundred_late_fires_make_one_check(sample_lake: Lake) -> None:
    end = now().replace(minute=10, second=0, microsecond=0) - timedelta(hours=1)
    kickoffs = [end - timedelta(hours=back) for back in range(500)]
    random.Random(1).shuffle(kickoffs)
    decisions = [decision for kickoff in kickoffs for decision in check_volume(VolumeRule(), kickoff)]
    entries = open_lake().ledger.entries("triggers/agents/volume")
    assert len(entries) <= 2  # an hour may end while they run
    assert {decision.key for decision in decisions} == {entry.key for entry in entries}
    assert entries[0].payload["reason"].endswith("new interactions in all (threshold 10,000).")


def test_a_trigger_that_fires_while_a_training_runs_is_covered_by_it(sample_lake: Lake) -> None:
    claim(open_lake(), "agents", "somebody's run")
    [decision] = on_schedule(kickoff=now(), rule=ScheduleRule(days=1), profile=SMALL)
    assert decision.outcome == "covered"
    assert "by the training under way, run somebody's run" in decision.reason
    assert open_lake().ledger.entries("models/agents") == []
    assert list((settings().folder / "runs").glob("*")) == []


def test_why_shows_the_decisions_and_suggests_a_model(sample_lake: Lake) -> None:
    check_volume(VolumeRule(), now())
    result = CliRunner().invoke(main, ["why", "agents", "--json"])
    explained = json.loads(result.output)
    assert explained["events"] == []
    [trigger] = explained["triggers"]
    assert (trigger["trigger"], trigger["looks"], trigger["last"]["outcome"]) == ("volume", 1, "quiet")
    assert trigger["last"]["rule"] == {"new_interactions": 10_000}
    assert trigger["last"]["versions"]
    wrong = CliRunner().invoke(main, ["why", "agnets"])
    assert (wrong.exit_code, "did you mean 'agents'?" in wrong.output) == (1, True)
    assert "it was not retrained" in CliRunner().invoke(main, ["why", "agents"]).output

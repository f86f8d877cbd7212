"""A lake made by the code of commit a5622f7: the present code continues it and repeats no work.

Names of modules, classes and functions have changed since; stored data and their keys have not.
"""

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import models.spec
from benchmarks.simulation.history import SimulatedHistory
from benchmarks.simulation.world import DAY_S, instant, steady
from cli.main import main
from lake.lake import Lake, open_lake
from models.evaluation.evaluate import EvaluationRule
from models.registry.fold import read_state
from models.registry.kinds import model_chain
from models.registry.registry import load_version, production
from models.registry.training_lease import claim, release
from models.retraining.pin import Pinned, pin_training_set
from models.serialize import from_plain
from models.spec import ModelSpec
from models.triggers.decisions import Decision, decide
from models.triggers.history import History, LakeHistory
from models.triggers.rules import (
    DriftRule,
    ErrorRateRule,
    FeedbackRule,
    RetryBackoff,
    Rule,
    ScheduleRule,
    VolumeRule,
)
from models.tuning.plan import SearchSpace, TrialState, TuningPlan
from models.tuning.propose import propose
from models.tuning.select import close_study
from models.tuning.study import open_study, read_trials
from models.types import BASE, Outcome
from reports.decks.triggers import decision_deck
from reports.trigger_explanation import explain
from serving.policy import CanaryRule
from serving.rollout import admission
from serving.rollout.opening import open_rollout
from serving.rollout.rollout import advance
from serving.routing.routes import read_routes
from serving.statistics.shadow_test import ShadowRule
from settings import settings as process_settings
from tasks.evaluation import evaluate_candidate
from tasks.training import build_training_set, train_adapter
from tests.models.triggers.test_findings import BUSY, CHANGES, CHECK
from tests.serving.rollout.test_canary import Clock, simulated_users
from tests.world.tiny import build_tiny
from tests.world.world import PROFILE

COMMIT = "a5622f7"
ROOT = Path(__file__).parents[1]
SCRIPTS = Path(__file__).with_name("old_lake")
PATIENCE_S = 900
MODEL = "agents"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(PATIENCE_S)]


@dataclass(frozen=True)
class OldCode:
    """The tree of that commit, and the environment that the old and the present code share."""

    tree: Path
    folder: Path
    environment: dict[str, str]

    def run(self, script: str, *arguments: str, **variables: str) -> None:
        """Run a script of ``tests/old_lake`` in the old tree: the current directory precedes installed packages."""
        command = [sys.executable, "-c", (SCRIPTS / script).read_text(), *arguments]
        environment = {**os.environ, **self.environment, **variables, "PYTHONPATH": str(self.tree)}
        done = subprocess.run(
            command, cwd=self.tree, env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )
        assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="module")
def old(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OldCode]:
    """The unpacked old tree, and an environment with an empty lake and a tiny base model; this process uses it too."""
    archive = subprocess.run(["git", "archive", COMMIT], cwd=ROOT, capture_output=True, check=False)
    if archive.returncode:
        message = f"commit {COMMIT} is not in this git repository: {archive.stderr.decode().strip()}"
        if request.config.getoption("--require-services"):
            pytest.fail(message)
        pytest.skip(message)
    folder = tmp_path_factory.mktemp("old")
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
        tar.extractall(folder / "tree", filter="data")
    environment = {
        "FUELLINE_LAKE": "sample",
        "FUELLINE_HOME": str(folder / "home"),
        "FUELLINE_CACHE": str(folder / "cache"),
        "FUELLINE_BASE_MODEL": str(build_tiny(folder / "base")),
        "FLYTE_LOCAL_CACHE_ENABLED": "false",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        process_settings.cache_clear()
        yield OldCode(tree=folder / "tree", folder=folder, environment=environment)
    process_settings.cache_clear()


@pytest.fixture(scope="module")
def made(old: OldCode) -> OldCode:
    """After the old code's first run: agents@v1 in production, decisions of every trigger, an unfinished study."""
    old.run("first_run.txt", str(old.folder / "logs"))
    return old


@pytest.fixture(scope="module")
def canary(made: OldCode) -> OldCode:
    """After the old code has opened the canary of agents@v2, which a fifth of the users get."""
    made.run("canary.txt", FUELLINE_VLLM="http://127.0.0.1:9")
    return made


@pytest.fixture
def lake(made: OldCode) -> Lake:
    return open_lake()


def call(*arguments: str) -> Result:
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    return done


def stored_objects(lake: Lake) -> dict[str, str]:
    """Digests of every object but the pages, which each run writes again, the leases, which it acquires and releases,
    and the entries that name a page.
    """
    found = {key: lake.store.read(key) for key in lake.store.list("") if not key.startswith(("reports/", "leases/"))}
    entries = {key: json.loads(data) for key, data in found.items() if key.startswith("ledger/") and "/e" in key}
    reports = {key for key, entry in entries.items() if entry["kind"] == "reported"}
    return {key: hashlib.sha256(data).hexdigest() for key, data in found.items() if key not in reports}


def decide_again(lake: Lake, model: str, rule: Rule, history: History, end: datetime) -> None:
    """A decision of the old code is found by its key; under another key the same decision is made again."""
    hour, backoff = timedelta(hours=1), RetryBackoff()
    found = decide(lake, history, model, rule, end=end, every=hour, patience=backoff)
    [old] = lake.ledger.entries(f"triggers/{model}/{found.trigger}")
    decide(lake, history, model, rule, end=end, every=hour, patience=backoff, key="once more")
    [_, new] = lake.ledger.entries(f"triggers/{model}/{found.trigger}")
    names = ("fired", "rule", "window", "onset", "since", "versions", "evidence")
    assert {name: new.payload[name] for name in names} == {name: old.payload[name] for name in names}


def test_a_second_run_finds_nothing_to_do(made: OldCode, lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    from workflows.lifecycle import lifecycle

    small = replace(PROFILE, name="smoke", max_steps=20, eval_rows=200)
    monkeypatch.setitem(models.spec.PROFILES, "smoke", lambda: small)
    before = stored_objects(lake)
    verdict = lifecycle(folder=str(made.folder / "logs"), profile="smoke", reason="make run")
    assert (verdict.outcome, verdict.version) == (Outcome.NOTHING_NEW, 1), verdict.reason
    assert stored_objects(lake) == before


def test_a_replay_of_its_version_gives_the_same_bytes(lake: Lake) -> None:
    recorded = load_version(lake, "agents@v1").version.digest
    output = call("replay", "agents@v1").output
    assert "the same weights again, byte for byte (20 steps" in output
    assert recorded in output


def test_status_and_history_show_what_the_old_code_recorded(lake: Lake) -> None:
    [status] = json.loads(call("status", "--json").output)
    agents = next(model for model in status["models"] if model["model"] == MODEL)
    assert agents["production"] == "agents@v1"
    assert {source["source"] for source in status["sources"]} == {MODEL}
    assert "agents@v1 since" in call("status").output
    events = json.loads(call("history", MODEL, "--json").output)
    kinds = [event["kind"] for event in events if event["kind"] != "reported"]
    assert kinds[:3] == ["retraining_opened", "trained", "judged"]
    lines = call("history", MODEL).output
    for evidence in ("20 steps to loss", "better than base: -", "registered", "No harm on 120 requests"):
        assert evidence in lines


def test_the_lineage_of_its_version_reaches_from_the_raw_objects_to_the_rollout(lake: Lake) -> None:
    text = call("lineage", "agents@v1").output
    for node in ("raw/", "processed.agent_interactions@", "ml.training_sets@", "agents@v1"):
        assert node in text
    graph = json.loads(call("lineage", "agents@v1", "--json").output)
    assert graph["name"] == "agents@v1"
    assert len(graph["edges"]) >= len(graph["nodes"]) - 1


def test_why_explains_its_decisions_and_their_evidence_is_read(lake: Lake) -> None:
    day = lake.ledger.entries(model_chain(MODEL))[0].time.date()
    output = call("why", MODEL, "--on", day.isoformat()).output
    assert "it was retrained (1 started, 1 ended)" in output
    triggers = {trigger["trigger"] for trigger in explain(lake, MODEL, day)["triggers"]}
    assert triggers == {"schedule", "volume", "error_rate", "drift", "feedback"}

    simulated = explain(lake, "simulated", day)["triggers"]
    assert {trigger["trigger"]: [fired["outcome"] for fired in trigger["fired"]] for trigger in simulated} == {
        "error_rate": ["started"],
        "drift": ["covered"],
        "feedback": ["covered"],
    }
    for trigger, columns in (("error_rate", "rate_before"), ("drift", "psi"), ("feedback", "rate_before")):
        [entry] = lake.ledger.entries(f"triggers/simulated/{trigger}")
        fields: dict[str, Any] = entry.payload
        decision = Decision(
            model="simulated", trigger=trigger, outcome=entry.kind, reason=fields["reason"], key=entry.key
        )
        page = "".join(decision_deck(lake, "simulated", [decision]))
        assert columns in page
        assert "chance" in page
    assert read_state(lake.ledger, "simulated").request is not None


def test_a_decision_is_not_repeated_and_a_new_one_has_the_same_evidence(lake: Lake) -> None:
    [trained] = lake.ledger.entries(model_chain(MODEL), kind="trained")
    cut, now = datetime.fromisoformat(trained.payload["cut"]), instant(CHECK * DAY_S)
    for rule in (ScheduleRule(), VolumeRule(), ErrorRateRule(), DriftRule(), FeedbackRule()):
        decide_again(lake, MODEL, rule, LakeHistory(lake), cut)
    for changed, change, _ in CHANGES:
        history = SimulatedHistory(change(steady(BUSY)), lambda: now + timedelta(minutes=10))
        decide_again(lake, "simulated", changed, history, now)


def test_stored_reference_profiles_are_read_and_not_computed_again(lake: Lake) -> None:
    [reference] = [key for key in lake.store.list("references/") if "/features-" in key]
    before = stored_objects(lake)
    since = read_state(lake.ledger, MODEL).completed
    assert since is not None
    profiles = LakeHistory(lake).features_before(since, since.cut - timedelta(days=28))
    stored = json.loads(lake.store.read(reference))
    assert [profile.name for profile in profiles] == [profile["name"] for profile in stored]
    assert profiles
    assert stored_objects(lake) == before


def test_a_cached_task_finds_its_stored_result_when_the_cache_misses(lake: Lake) -> None:
    """The key of Flyte's cache has the titles, fields and descriptions of a task's inputs: where those change, it
    misses once, and the task runs. In this test it always runs, because the local cache is off.
    """
    [opened] = lake.ledger.entries(model_chain(MODEL), kind="retraining_opened")
    pinned = from_plain(Pinned, opened.payload)
    manifest = load_version(lake, "agents@v1")
    spec, profile, known = manifest.spec, manifest.profile, manifest.evaluation
    before = stored_objects(lake)
    held = claim(lake, MODEL, "another run")
    examples = build_training_set(pinned=pinned, spec=spec, claim=held)
    adapter = train_adapter(training_set=examples, spec=spec, profile=profile, pinned=pinned, claim=held)
    judged = evaluate_candidate(
        pinned=pinned, adapter=adapter, spec=spec, profile=profile, rule=EvaluationRule(), claim=held
    )
    release(lake, MODEL, held.holder)
    assert examples == known.adapter.training_set
    assert adapter == known.adapter
    assert judged.evaluations == [known]
    assert stored_objects(lake) == before


def test_a_closed_rollout_is_not_opened_again(lake: Lake) -> None:
    manifest = load_version(lake, "agents@v1")
    before = stored_objects(lake)
    verdict = open_rollout(lake, manifest.version, BASE, manifest.profile, ShadowRule(), CanaryRule())
    assert verdict.outcome is Outcome.PROMOTED
    assert stored_objects(lake) == before


def test_a_search_continues_with_the_trials_of_the_old_code(lake: Lake) -> None:
    spec = ModelSpec(base=lake.settings.base_model)
    start = replace(PROFILE, max_steps=4, learning_rate=1e-4)
    space = SearchSpace(learning_rate_low=1e-4, learning_rate_high=5e-2, lora_ranks=[4, 8])
    plan = TuningPlan(trials=2, parallel=2, startup=1, rungs=2, validation_rows=40)
    before = stored_objects(lake)
    study = open_study(lake, pin_training_set(lake, spec), spec, start, space, plan)
    trials = propose(lake, study, 0)
    assert stored_objects(lake) == before
    assert [trial.number for trial in trials] == [0, 1]
    assert {trial.state for trial in read_trials(lake, study)} == {TrialState.COMPLETE}
    tuned = close_study(lake, study)
    assert [trial.number for trial in tuned.trials] == [0, 1]
    assert close_study(lake, study) == tuned


def test_an_open_canary_continues_to_its_promotion(canary: OldCode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "prove_everywhere", lambda lake, version: [])
    monkeypatch.setenv("FUELLINE_VLLM", "http://127.0.0.1:9")
    process_settings.cache_clear()
    clock = Clock(open_lake().ledger.entries(model_chain(MODEL))[-1].time)
    lake = open_lake(clock=clock)
    before = lake.ledger.entries(model_chain(MODEL))
    assert read_routes(lake)[MODEL].share == 0.2
    users = simulated_users(lake, clock, candidate=0.05)
    users.sent = 1_000_000
    for _ in range(30):
        users.hours(1)
        verdict = advance(lake, "agents@v2")
        if verdict.outcome is not Outcome.ROLLING_OUT:
            break
    assert verdict.outcome is Outcome.PROMOTED, verdict.reason
    assert [entry.kind for entry in lake.ledger.entries(model_chain(MODEL))[len(before) :]] == [
        "canary_widened",
        "promoted",
    ]
    version = production(lake.ledger, MODEL)
    assert version is not None
    assert version.name == "agents@v2"

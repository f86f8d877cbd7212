"""The whole workflow as a user runs it, on the built-in sample with a tiny base model."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lake.lake import Lake, open_lake
from lake.sample.generate import write_sample
from models.evaluation.evaluate import EvaluationRule
from models.registry.training_lease import claim
from models.spec import TrainingProfile
from models.types import Cause, Outcome, Verdict
from settings import settings
from tests.world.world import PROFILE


@pytest.fixture
def run(task_lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Verdict]:
    """Run the whole workflow on this number of days of the sample."""
    import models.spec
    from workflows.lifecycle import lifecycle

    small: TrainingProfile = replace(PROFILE, name="smoke", max_steps=20, eval_rows=200)
    monkeypatch.setitem(models.spec.PROFILES, "smoke", lambda: small)

    def once(days: int) -> Verdict:
        write_sample(tmp_path / "logs", days=days)
        verdict: Verdict = lifecycle(folder=str(tmp_path / "logs"), profile="smoke")
        return verdict

    return once


def test_a_run_turns_logs_into_an_evaluated_model_and_a_second_run_finds_nothing_new(
    run: Callable[[int], Verdict], task_lake: Lake
) -> None:
    first = run(3)
    kinds = [entry.kind for entry in task_lake.ledger.entries("models/agents") if entry.kind != "reported"]
    assert kinds[:3] == ["retraining_opened", "trained", "judged"]
    assert kinds[-3:] == ["rollout_opened", "retraining_closed", "promoted"]
    assert first.outcome is Outcome.PROMOTED
    before = len(open_lake().ledger.entries("models/agents"))

    second = run(3)
    assert second.outcome is Outcome.NOTHING_NEW
    assert second.version == first.version
    entries = open_lake().ledger.entries("models/agents")
    assert [entry.kind for entry in entries[before:] if entry.kind != "reported"] == []

    third = run(4)
    assert third.outcome is not Outcome.NOTHING_NEW
    cuts = [entry.payload["cut"] for entry in open_lake().ledger.entries("models/agents", kind="trained")]
    assert len(cuts) == 2
    assert cuts[0] < cuts[1]


def test_every_landed_row_is_accounted_for_and_the_report_has_every_section(
    run: Callable[[int], Verdict], task_lake: Lake, tmp_path: Path
) -> None:
    run(3)
    done = [entry.payload for entry in open_lake().ledger.entries("sources/agents", kind="ingested")]
    assert sum(p["landed"] for p in done) == sum(p["committed"] + p["quarantined"] + p["duplicates"] for p in done)
    reports = list((tmp_path / "home").rglob("reports/*.html"))
    page = max(reports, key=lambda path: path.stat().st_size).read_text()
    for section in ("Ingestion", "Quality", "Features", "Training set", "Training", "Evaluation"):
        assert section in page
    assert "user-0" not in page


def test_logs_and_late_feedback_are_enough_for_a_retraining_started_by_hand(task_lake: Lake, tmp_path: Path) -> None:
    from workflows.ingestion import ingestion
    from workflows.retraining import retraining

    write_sample(tmp_path / "logs", days=3)
    landed = ingestion(folder=str(tmp_path / "logs"))
    rated = open_lake().tables.read(landed.table, columns=["interaction_id"])["interaction_id"][:50].to_pylist()
    ratings = [{"interaction_id": name, "value": 0, "timestamp": "2026-10-07T12:00:00Z"} for name in rated]
    (tmp_path / "feedback").mkdir()
    (tmp_path / "feedback" / "late.jsonl").write_text("".join(json.dumps(rating) + "\n" for rating in ratings))
    late = ingestion(folder=str(tmp_path / "feedback"), source="feedback", data_set="processed.agent_feedback")
    assert (late.landed, late.committed) == (50, 50)

    verdict = retraining(
        profile=replace(PROFILE, max_steps=4, eval_rows=60), cause=Cause(reason="new feedback", by="ana")
    )
    assert verdict.outcome is not Outcome.NOTHING_NEW
    [opened] = open_lake().ledger.entries("models/agents", kind="retraining_opened")
    assert opened.payload["cause"]["reason"] == "new feedback"
    assert opened.fence == 1
    assert opened.payload["feedback"][0]["rows"] == 50
    looser = EvaluationRule(confidence=0.9)
    again = retraining(
        profile=replace(PROFILE, max_steps=4, eval_rows=60), evaluation=looser, cause=Cause(reason="another rule")
    )
    assert again == verdict  # the same training, shown better by either rule: its rollout is open
    assert [entry.payload["version"] for entry in open_lake().ledger.entries("models/agents", kind="registered")] == [1]


def test_a_run_while_another_run_holds_the_lease_reports_it_and_writes_nothing(
    run: Callable[[int], Verdict], task_lake: Lake
) -> None:
    run(3)
    claim(task_lake, "agents", "another run")
    before = len(open_lake().ledger.entries("models/agents"))
    verdict = run(4)
    assert verdict.outcome is Outcome.COVERED
    assert "run another run, whose lease lasts until" in verdict.reason
    kinds = [entry.kind for entry in open_lake().ledger.entries("models/agents")[before:]]
    assert set(kinds) <= {"reported"}


def test_a_failed_retraining_is_recorded_and_the_next_one_succeeds(
    run: Callable[[int], Verdict], task_lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = settings().base_model
    monkeypatch.setenv("FUELLINE_BASE_MODEL", "/nowhere")
    settings.cache_clear()
    with pytest.raises(Exception, match="FUELLINE_BASE_MODEL"):
        run(3)
    failed = open_lake().ledger.entries("models/agents", kind="retraining_failed")
    assert len(failed) == 1
    assert failed[0].payload["stage"] == "train_adapter"
    assert failed[0].payload["error"].startswith("BaseModelError: ")
    monkeypatch.setenv("FUELLINE_BASE_MODEL", good)
    settings.cache_clear()
    assert run(3).outcome is not Outcome.NOTHING_NEW

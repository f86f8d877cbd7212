"""The score, its two thresholds and the gate."""

from pathlib import Path

import pytest

from errors import QualityTooLow
from lake.contracts.agent_interactions import AGENT_INTERACTIONS
from lake.ingest.pipeline import Ingester
from lake.lake import Lake
from lake.quality.score import QualityGate, QualityLevel, account, quality_report, require_quality

GOOD = (
    '{{"interaction_id": "{id}", "timestamp": "2026-10-26T00:00:{second:02d}Z", "agent_name": "{agent}",'
    ' "user_id": "u", "user_query": "q", "response": "r", "latency_ms": 500, "tokens_used": 5, "error": false,'
    ' "feedback": null, "model_version": "base", "cluster": "studio"}}'
)
GATE = QualityGate()


def _land(
    lake: Lake, folder: Path, good: int, bad: int, doubled: int = 0, offset: int = 0, source: str = "agents"
) -> None:
    lines = [GOOD.format(id=f"g{n}", second=n, agent="bruno") for n in range(offset, offset + good)]
    lines += [GOOD.format(id=f"b{n}", second=n, agent="nobody") for n in range(bad)]
    folder.mkdir()
    (folder / "log.jsonl").write_text("\n".join(lines + lines[:doubled]))
    Ingester(lake, AGENT_INTERACTIONS, source).ingest_folder(folder)


@pytest.mark.parametrize(
    ("good", "bad", "score", "level"),
    [
        (20, 0, 100.0, QualityLevel.GOOD),
        (19, 1, 95.0, QualityLevel.GOOD),
        (18, 2, 90.0, QualityLevel.WARNING),
        (16, 4, 80.0, QualityLevel.WARNING),
        (15, 5, 75.0, QualityLevel.BLOCKED),
    ],
)
def test_below_95_warns_and_below_80_blocks(
    lake: Lake, tmp_path: Path, good: int, bad: int, score: float, level: QualityLevel
) -> None:
    _land(lake, tmp_path / "logs", good, bad)
    report = quality_report(lake, AGENT_INTERACTIONS, "agents", GATE)
    assert (report.score, report.level) == (score, level)


def test_without_a_source_everything_that_landed_in_the_data_set_counts(lake: Lake, tmp_path: Path) -> None:
    _land(lake, tmp_path / "loki", 3, 1, source="loki")
    _land(lake, tmp_path / "events", 5, 0, offset=3, source="rabbitmq")
    report = quality_report(lake, AGENT_INTERACTIONS, "", GATE)
    assert (report.objects, report.landed, report.quarantined, report.score) == (2, 9, 1, 88.89)
    assert quality_report(lake, AGENT_INTERACTIONS, "rabbitmq", GATE).score == 100.0
    assert quality_report(lake, AGENT_INTERACTIONS, "agents", GATE).objects == 0


def test_identical_duplicates_do_not_lower_the_score(lake: Lake, tmp_path: Path) -> None:
    _land(lake, tmp_path / "logs", good=19, bad=1, doubled=19)
    report = quality_report(lake, AGENT_INTERACTIONS, "agents", GATE)
    assert (report.score, report.duplicates, report.landed) == (95.0, 19, 39)


def test_the_gate_names_the_score_and_the_worst_reason(lake: Lake, tmp_path: Path) -> None:
    _land(lake, tmp_path / "logs", good=1, bad=3)
    with pytest.raises(QualityTooLow, match=r"25\.0 is below 80.*unknown_agent 3"):
        require_quality(quality_report(lake, AGENT_INTERACTIONS, "agents", GATE), GATE)


def test_a_promise_of_the_contract_is_kept_or_not_by_its_own_limit(lake: Lake, tmp_path: Path) -> None:
    _land(lake, tmp_path / "logs", good=19, bad=1)
    rules = {rule.rule: rule for rule in quality_report(lake, AGENT_INTERACTIONS, "agents", GATE).rules}
    assert not rules["completeness"].kept
    assert rules["parsing_errors"].kept


def test_only_what_landed_of_this_data_set_after_an_instant_counts(lake: Lake, tmp_path: Path) -> None:
    from lake.contracts.agent_interactions import AGENT_FEEDBACK

    _land(lake, tmp_path / "bad", good=1, bad=3)
    [first] = lake.ledger.entries("sources/agents", kind="ingested")
    _land(lake, tmp_path / "good", good=4, bad=0, offset=10)
    assert quality_report(lake, AGENT_INTERACTIONS, "agents", GATE).score == 62.5
    assert quality_report(lake, AGENT_INTERACTIONS, "agents", GATE, since=first.time).score == 100.0
    assert quality_report(lake, AGENT_FEEDBACK, "agents", GATE).objects == 0


def test_rows_committed_by_an_earlier_reading_count_as_committed(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _land(lake, tmp_path / "logs", good=19, bad=1, doubled=5)
    before = quality_report(lake, AGENT_INTERACTIONS, "agents", GATE)
    [first] = lake.ledger.entries("sources/agents", kind="ingested")
    monkeypatch.setattr("lake.ingest.pipeline.PARSER_VERSION", 1_000)
    Ingester(lake, AGENT_INTERACTIONS, "agents").ingest_folder(tmp_path / "logs")
    assert quality_report(lake, AGENT_INTERACTIONS, "agents", GATE) == before
    assert quality_report(lake, AGENT_INTERACTIONS, "agents", GATE, since=first.time) == before
    twice = lake.ledger.entries("sources/agents", kind="ingested")
    assert len(twice) == 2
    assert account(twice) == account([first])


def test_the_score_of_nothing_is_100(lake: Lake) -> None:
    report = quality_report(lake, AGENT_INTERACTIONS, "agents", GATE)
    assert (report.score, report.landed) == (100.0, 0)

"""The hourly check: its findings, failures of the run and entries, and that it covers its own window only."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from errors import QualityTooLow
from lake.contracts.agent_interactions import AGENT_INTERACTIONS
from lake.contracts.features import INFRASTRUCTURE_FEATURES
from lake.ingest.pipeline import Ingester
from lake.lake import Lake, open_lake
from lake.quality.monitor import CheckResult, MonitoringPolicy, check, freshness, require_acceptable
from lake.quality.score import QualityGate, QualityLevel
from lake.windows import BEGINNING, Window
from settings import Settings
from tests.lake.rows import START, interaction, lines

HOUR = timedelta(hours=1)
ALONE = MonitoringPolicy(data_sets=[AGENT_INTERACTIONS.name], least_lines=10)
Land = Callable[[Iterable[Mapping[str, Any]], datetime], Lake]


@pytest.fixture
def land(settings: Settings, tmp_path: Path) -> Land:
    """Land rows at an instant; returns the lake with its clock there."""

    def at(rows: Iterable[Mapping[str, Any]], instant: datetime) -> Lake:
        lake = open_lake(settings, clock=lambda: instant)
        path = tmp_path / f"{instant:%H%M%S}.jsonl"
        path.write_bytes(lines(rows))
        Ingester(lake, AGENT_INTERACTIONS, "agents").ingest_file(path)
        return lake

    return at


def run_check(lake: Lake, end: datetime, start: datetime = BEGINNING, rule: MonitoringPolicy = ALONE) -> CheckResult:
    due = Window(start=start, end=end)
    return check(lake, "agents", AGENT_INTERACTIONS.name, due, period=HOUR, gate=QualityGate(), rule=rule)


def bad(number: int) -> dict[str, Any]:
    return interaction(number, latency_ms=-1)


def test_good_fresh_rows_give_no_complaint_and_no_entry(land: Land) -> None:
    end = START + 40 * timedelta(minutes=1)
    lake = land([interaction(number) for number in range(30)], end)
    found = run_check(lake, end)
    assert (found.level, found.complaints, found.report.score) == (QualityLevel.GOOD, [], 100.0)
    assert lake.ledger.entries("sources/agents", kind="checked") == []
    require_acceptable(found)


def test_a_lake_with_only_rejected_lines_has_no_newest_row(land: Land) -> None:
    lake = land([bad(0)], START + HOUR)
    assert lake.tables.newest_time(AGENT_INTERACTIONS) is None
    assert not run_check(lake, START + HOUR).freshness[0].kept


def test_a_broken_promise_is_a_warning_that_is_recorded_once(land: Land) -> None:
    end = START + HOUR
    lake = land([*(interaction(number) for number in range(40)), bad(41), bad(42)], end)
    for _ in range(2):
        found = run_check(lake, end)
    assert found.level is QualityLevel.WARNING
    assert found.complaints == ["completeness: 4.8% of the lines broke it, 1.0% is allowed"]
    [kept] = lake.ledger.entries("sources/agents", kind="checked")
    assert kept.payload["level"] == "warning"
    assert kept.payload["complaints"] == found.complaints
    require_acceptable(found)


def test_rows_too_poor_to_train_on_fail_the_run_with_the_worst_reason(land: Land) -> None:
    end = START + HOUR
    lake = land([*(interaction(number) for number in range(20)), *(bad(number) for number in range(20, 30))], end)
    found = run_check(lake, end)
    assert found.level is QualityLevel.BLOCKED
    with pytest.raises(
        QualityTooLow, match=r"quality 66.7 is below 80 \(10 of 30 lines quarantined: latency_out_of_range 10\)"
    ):
        require_acceptable(found)


def test_a_few_bad_lines_in_a_quiet_hour_are_only_a_warning(land: Land) -> None:
    end = START + HOUR
    lake = land([interaction(0), interaction(1), bad(2), bad(3)], end)
    assert run_check(lake, end).level is QualityLevel.WARNING


def test_only_rows_that_landed_in_the_window_are_checked(land: Land) -> None:
    first, second = START + HOUR, START + 2 * HOUR
    land([bad(number) for number in range(30)], first - timedelta(minutes=20))
    lake = land([interaction(number) for number in range(60, 100)], second - timedelta(minutes=20))
    assert run_check(lake, second, start=first).report.score == 100.0
    assert run_check(lake, first).report.landed == 30
    assert run_check(lake, second).report.landed == 70


def test_a_row_that_lands_once_an_hour_may_be_an_hour_older_than_promised(land: Land) -> None:
    lake = land([interaction(0)], START)
    limit = timedelta(seconds=AGENT_INTERACTIONS.freshness_s) + HOUR
    assert freshness(lake, AGENT_INTERACTIONS, START + limit, HOUR).kept
    late = run_check(lake, START + limit + timedelta(minutes=6))
    assert late.level is QualityLevel.WARNING
    assert late.complaints == ["processed.agent_interactions is 1.2 h old, 1.1 h is promised"]


def test_a_source_that_has_stopped_for_a_day_fails_the_run(land: Land) -> None:
    lake = land([interaction(0)], START)
    found = run_check(lake, START + timedelta(hours=24, minutes=1))
    with pytest.raises(QualityTooLow, match="has stopped: it has no row newer than 2026-10-01 00:00 UTC"):
        require_acceptable(found)


def test_a_data_set_without_a_row_is_only_a_warning(lake: Lake) -> None:
    found = run_check(lake, START)
    assert (found.level, found.complaints) == (QualityLevel.WARNING, ["processed.agent_interactions has no row yet"])


def test_cluster_features_are_checked_once_they_exist(land: Land) -> None:
    lake, rule = land([interaction(0)], START), MonitoringPolicy(data_sets=[AGENT_INTERACTIONS.name], least_lines=10)
    assert run_check(lake, START, rule=rule).complaints == []
    row = {"cluster_namespace": "studio/*", "event_timestamp": START, "created_timestamp": START}
    declared = INFRASTRUCTURE_FEATURES
    lake.tables.append(declared, pa.Table.from_pylist([row], schema=declared.arrow_schema), key="a")
    found = run_check(lake, START + timedelta(hours=3), rule=rule)
    assert "ml.infrastructure_features is 3.0 h old, 2.5 h is promised" in found.complaints


def test_the_newest_row_is_read_from_metadata_and_is_the_newest(land: Land) -> None:
    land([interaction(number) for number in range(50)], START + HOUR)
    lake = land([interaction(number) for number in (99, 70)], START + 2 * HOUR)
    assert lake.tables.newest_time(AGENT_INTERACTIONS) == START + timedelta(minutes=99)


def test_an_invalid_policy_is_refused() -> None:
    with pytest.raises(ValueError, match="silent_after_hours must be above 0"):
        MonitoringPolicy(silent_after_hours=0)

"""The hourly look: what it complains of, what it blocks, what it keeps, and that it looks at its own window only."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from errors import QualityTooLow
from lake.contracts.agent_interactions import AGENT_INTERACTIONS
from lake.contracts.infrastructure_features import INFRASTRUCTURE_FEATURES
from lake.ingest.pipeline import Ingester
from lake.lake import Lake, open_lake
from lake.quality.monitor import Finding, WatchRule, check, freshness, require_sound
from lake.quality.score import QualityGate, QualityLevel
from lake.windows import BEGINNING, Window
from settings import Settings
from tests.lake.rows import START, interaction, lines

HOUR = timedelta(hours=1)
ALONE = WatchRule(data_sets=[AGENT_INTERACTIONS.name], least_lines=10)
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


def look(lake: Lake, end: datetime, start: datetime = BEGINNING, rule: WatchRule = ALONE) -> Finding:
    due = Window(start=start, end=end)
    return check(lake, "agents", AGENT_INTERACTIONS.name, due, period=HOUR, gate=QualityGate(), rule=rule)


def bad(number: int) -> dict[str, Any]:
    return interaction(number, latency_ms=-1)


def test_good_fresh_rows_give_no_complaint_and_no_entry(land: Land) -> None:
    end = START + 40 * timedelta(minutes=1)
    lake = land([interaction(number) for number in range(30)], end)
    found = look(lake, end)
    assert (found.level, found.complaints, found.report.score) == (QualityLevel.GOOD, [], 100.0)
    assert lake.ledger.entries("sources/agents", kind="checked") == []
    require_sound(found)


def test_a_lake_whose_every_line_was_rejected_has_no_newest_row(land: Land) -> None:
    lake = land([bad(0)], START + HOUR)
    assert lake.tables.newest_time(AGENT_INTERACTIONS) is None
    assert not look(lake, START + HOUR).freshness[0].kept


def test_a_broken_promise_is_a_warning_that_is_kept_once(land: Land) -> None:
    end = START + HOUR
    lake = land([*(interaction(number) for number in range(40)), bad(41), bad(42)], end)
    for _ in range(2):
        found = look(lake, end)
    assert found.level is QualityLevel.WARNING
    assert found.complaints == ["completeness: 4.8% of the lines broke it, 1.0% may"]
    [kept] = lake.ledger.entries("sources/agents", kind="checked")
    assert kept.payload["level"] == "warning"
    assert kept.payload["complaints"] == found.complaints
    require_sound(found)


def test_rows_too_poor_to_train_on_fail_the_run_and_name_the_worst(land: Land) -> None:
    end = START + HOUR
    lake = land([*(interaction(number) for number in range(20)), *(bad(number) for number in range(20, 30))], end)
    found = look(lake, end)
    assert found.level is QualityLevel.BLOCKED
    with pytest.raises(
        QualityTooLow, match=r"quality 66.7 is below 80 \(10 of 30 lines quarantined: latency_out_of_range 10\)"
    ):
        require_sound(found)


def test_a_few_bad_lines_of_a_quiet_hour_wake_nobody(land: Land) -> None:
    end = START + HOUR
    lake = land([interaction(0), interaction(1), bad(2), bad(3)], end)
    assert look(lake, end).level is QualityLevel.WARNING


def test_only_what_landed_in_the_window_is_judged(land: Land) -> None:
    first, second = START + HOUR, START + 2 * HOUR
    land([bad(number) for number in range(30)], first - timedelta(minutes=20))
    lake = land([interaction(number) for number in range(60, 100)], second - timedelta(minutes=20))
    assert look(lake, second, start=first).report.score == 100.0
    assert look(lake, first).report.landed == 30
    assert look(lake, second).report.landed == 70


def test_a_row_that_lands_once_an_hour_may_be_an_hour_older_than_promised(land: Land) -> None:
    lake = land([interaction(0)], START)
    limit = timedelta(seconds=AGENT_INTERACTIONS.freshness_s) + HOUR
    assert freshness(lake, AGENT_INTERACTIONS, START + limit, HOUR).kept
    late = look(lake, START + limit + timedelta(minutes=6))
    assert late.level is QualityLevel.WARNING
    assert late.complaints == ["processed.agent_interactions is 1.2 h old, 1.1 h are promised"]


def test_a_source_that_stands_still_for_a_day_fails_the_run(land: Land) -> None:
    lake = land([interaction(0)], START)
    found = look(lake, START + timedelta(hours=24, minutes=1))
    with pytest.raises(QualityTooLow, match="nothing newer than 2026-10-01 00:00 UTC has come"):
        require_sound(found)


def test_a_data_set_without_a_row_is_a_warning_and_not_a_silence(lake: Lake) -> None:
    found = look(lake, START)
    assert (found.level, found.complaints) == (QualityLevel.WARNING, ["processed.agent_interactions has no row yet"])


def test_features_of_clusters_are_looked_at_once_there_are_any(land: Land) -> None:
    lake, rule = land([interaction(0)], START), WatchRule(data_sets=[AGENT_INTERACTIONS.name], least_lines=10)
    assert look(lake, START, rule=rule).complaints == []
    row = {"cluster_namespace": "studio/*", "event_timestamp": START, "created_timestamp": START}
    form = INFRASTRUCTURE_FEATURES
    lake.tables.append(form, pa.Table.from_pylist([row], schema=form.arrow_schema), key="a")
    found = look(lake, START + timedelta(hours=3), rule=rule)
    assert "ml.infrastructure_features is 3.0 h old, 2.5 h are promised" in found.complaints


def test_the_newest_row_is_read_from_metadata_and_is_the_newest(land: Land) -> None:
    land([interaction(number) for number in range(50)], START + HOUR)
    lake = land([interaction(number) for number in (99, 70)], START + 2 * HOUR)
    assert lake.tables.newest_time(AGENT_INTERACTIONS) == START + timedelta(minutes=99)


def test_a_rule_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="silent_after_hours must be above 0"):
        WatchRule(silent_after_hours=0)

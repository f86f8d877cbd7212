"""Repeated lines: a growing log lands as a whole each time, and each of its bad lines counts once."""

import gzip
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from lake.contracts import contract
from lake.contracts.agent_interactions import AGENT_INTERACTIONS as CONTRACT
from lake.ingest.known_rejects import DAYS_APART
from lake.ingest.pipeline import Ingested, Ingester
from lake.lake import Lake, open_lake
from lake.quality.score import QualityGate, quality_report
from settings import Settings
from tests.lake.rows import START, interaction, lines

QUARANTINE = contract("quarantine.agent_interactions")
LANDED = START + timedelta(days=20)


def read(lake: Lake, folder: Path, data: bytes, source: str = "agents", name: str = "log.jsonl") -> tuple[int, ...]:
    """Ingest a log with this content; the numbers of committed, quarantined and known rows."""
    path = folder / name
    path.write_bytes(data)
    done: Ingested = Ingester(lake, CONTRACT, source).ingest_file(path)
    assert done.new
    return done.committed, done.quarantined, done.duplicates


def rejected(lake: Lake) -> list[dict[str, Any]]:
    version = lake.tables.current(QUARANTINE)
    return lake.tables.read(version).to_pylist() if version else []


def hour(number: int) -> bytes:
    """Nine good lines, a slow one, and one that is not a row."""
    good = [interaction(20 * number + minute) for minute in range(9)]
    return lines([*good, interaction(20 * number + 9, latency_ms=31_000)]) + b"{\n"


def test_a_log_that_grows_each_hour_has_each_of_its_bad_lines_in_quarantine_once(lake: Lake, tmp_path: Path) -> None:
    for number in range(5):
        log = b"".join(map(hour, range(number + 1)))
        assert read(lake, tmp_path, log) == (9, 2, 11 * number)
    assert len(rejected(lake)) == 10
    report = quality_report(lake, CONTRACT, "agents", QualityGate())
    assert (report.score, report.committed, report.quarantined) == (81.82, 45, 10)
    assert report.landed == report.committed + report.quarantined + report.duplicates


def test_a_row_that_conflicts_with_another_does_so_once(lake: Lake, tmp_path: Path) -> None:
    log = lines([interaction(0), interaction(0, response="another")])
    assert read(lake, tmp_path, log) == (1, 1, 0)
    assert read(lake, tmp_path, log + lines([interaction(1)])) == (1, 0, 2)


@pytest.mark.parametrize("bad", [lines([interaction(0, latency_ms=5)]), b"{\n"])
def test_two_equal_bad_lines_of_one_object_count_twice_and_are_recognised_later(
    lake: Lake, tmp_path: Path, bad: bytes
) -> None:
    assert read(lake, tmp_path, bad + bad) == (0, 2, 0)
    assert read(lake, tmp_path, bad + bad + lines([interaction(1)])) == (1, 0, 2)
    assert len(rejected(lake)) == 2


def test_a_text_without_a_time_is_recognised_only_at_its_line_number(lake: Lake, tmp_path: Path) -> None:
    assert read(lake, tmp_path, b"Killed\n") == (0, 1, 0)
    assert read(lake, tmp_path, b"Killed\n" + lines([interaction(0)]) + b"Killed\n") == (1, 1, 1)


def test_a_text_without_a_time_at_the_same_line_of_another_log_is_new(lake: Lake, tmp_path: Path) -> None:
    for number in range(3):
        assert read(lake, tmp_path, lines([interaction(number)]) + b"Killed\n") == (1, 1, 0)


def test_the_same_bad_line_of_another_source_is_new(lake: Lake, tmp_path: Path) -> None:
    bad = lines([interaction(0, latency_ms=5)])
    assert read(lake, tmp_path, bad) == (0, 1, 0)
    assert read(lake, tmp_path, bad + lines([interaction(1)]), source="others") == (1, 1, 0)


@pytest.mark.parametrize(("days", "known"), [(DAYS_APART - 1, True), (DAYS_APART + 1, False)])
def test_a_bad_line_is_recognised_for_eight_days(settings: Settings, tmp_path: Path, days: int, known: bool) -> None:
    bad = lines([interaction(0, latency_ms=5)])
    read(open_lake(settings, clock=lambda: LANDED), tmp_path, bad)
    later = open_lake(settings, clock=lambda: LANDED + timedelta(days=days))
    assert read(later, tmp_path, bad + lines([interaction(1)])) == (1, not known, known)


def test_bad_rows_of_a_csv_are_recognised_too(lake: Lake, tmp_path: Path) -> None:
    header, bad = ",".join(interaction()), ",".join(str(value or "") for value in interaction(0, latency_ms=5).values())
    text = f"{header}\n{bad}\n"
    assert read(lake, tmp_path, text.encode(), name="log.csv") == (0, 1, 0)
    assert read(lake, tmp_path, f"{text}too,few\n".encode(), name="log.csv") == (0, 1, 1)
    assert read(lake, tmp_path, f"{text}too,few\ntoo,short\n".encode(), name="log.csv") == (0, 1, 2)
    assert [row["reason"] for row in rejected(lake)].count("malformed_csv") == 2


def test_each_unreadable_file_is_quarantined(lake: Lake, tmp_path: Path) -> None:
    for cut in (9, 8):
        broken = gzip.compress(lines([interaction(0)]))[:cut]
        assert read(lake, tmp_path, broken, name="log.jsonl.gz") == (0, 1, 0)
    assert {row["digest"] for row in rejected(lake)} == {None}


def test_a_quarantine_table_without_digests_accepts_new_lines(lake: Lake, tmp_path: Path) -> None:
    log = hour(0)
    read(lake, tmp_path, log)
    with lake.tables.load(QUARANTINE.table).update_schema() as update:
        update.delete_column("digest")
    assert read(lake, tmp_path, log + hour(1)) == (9, 4, 9)
    assert read(lake, tmp_path, log + hour(1) + hour(2)) == (9, 2, 22)
    assert sorted(row["digest"] is None for row in rejected(lake)) == [False] * 6 + [True] * 2

"""Partitions are replaced as a whole, once per input state, with concurrent writers too."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from lake.contracts.curated import CLUSTER_HEALTH_HOURLY as CONTRACT
from lake.lake import Lake, open_lake
from lake.tables.partitions import built_from, files_by_partition
from lake.tables.replace import replace_partitions
from lake.tables.tables import Tables
from lake.tables.versions import TableVersion
from settings import Settings, read_settings
from tests.lake.processes import at_once
from tests.lake.rows import interaction, table

DAYS = [date(2026, 10, 1) + timedelta(days=number) for number in range(3)]


def health(day: date, origin: str, hours: int = 2, requests: int = 1) -> list[dict[str, Any]]:
    at = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return [
        {
            "cluster": "studio",
            "hour": at + timedelta(hours=hour),
            "requests": requests,
            "agents": 1,
            "errors": 0,
            "error_rate": 0.0,
            "tokens": 1,
            "last_request_at": at + timedelta(hours=hour),
            "built_from": origin,
        }
        for hour in range(hours)
    ]


def rows(*groups: list[dict[str, Any]]) -> pa.Table:
    plain = [row for group in groups for row in group]
    return pa.Table.from_pylist(plain, schema=CONTRACT.arrow_schema)


def stored(lake: Lake) -> dict[date, list[int]]:
    version = lake.tables.current(CONTRACT)
    assert version
    found: dict[date, list[int]] = {}
    for row in lake.tables.read(version).sort_by("hour").to_pylist():
        found.setdefault(row["hour"].date(), []).append(row["requests"])
    return found


def test_a_replacement_changes_its_own_partitions_and_no_other(lake: Lake) -> None:
    first = replace_partitions(lake.tables, CONTRACT, DAYS, rows(*(health(day, "a") for day in DAYS)), inputs=())
    assert first.replaced == tuple(DAYS)
    second = replace_partitions(
        lake.tables, CONTRACT, DAYS[1:2], rows(health(DAYS[1], "b", hours=1, requests=7)), inputs=()
    )
    assert second.replaced == (DAYS[1],)
    assert stored(lake) == {DAYS[0]: [1, 1], DAYS[1]: [7], DAYS[2]: [1, 1]}
    assert first.version
    assert lake.tables.read(first.version).num_rows == 6


def test_a_partition_that_is_up_to_date_is_not_written_again(lake: Lake) -> None:
    made = rows(*(health(day, "a") for day in DAYS))
    first = replace_partitions(lake.tables, CONTRACT, DAYS, made, inputs=())
    again = replace_partitions(lake.tables, CONTRACT, DAYS, made, inputs=())
    assert (again.version, again.replaced) == (first.version, ())
    mixed = rows(health(DAYS[0], "a"), health(DAYS[1], "b"))
    assert replace_partitions(lake.tables, CONTRACT, DAYS[:2], mixed, inputs=()).replaced == (DAYS[1],)


def test_an_earlier_state_that_comes_back_is_written_again(lake: Lake) -> None:
    for origin, requests in (("a", 1), ("b", 2), ("a", 1)):
        made = rows(health(DAYS[0], origin, hours=1, requests=requests))
        replace_partitions(lake.tables, CONTRACT, DAYS[:1], made, inputs=())
        assert stored(lake) == {DAYS[0]: [requests]}


def test_a_partition_without_rows_becomes_empty(lake: Lake) -> None:
    replace_partitions(lake.tables, CONTRACT, DAYS, rows(*(health(day, "a") for day in DAYS)), inputs=())
    done = replace_partitions(lake.tables, CONTRACT, DAYS[:2], rows(health(DAYS[1], "a")), inputs=())
    assert done.replaced == (DAYS[0],)
    assert set(built_from(lake.tables, CONTRACT)) == {DAYS[1], DAYS[2]}


def test_rows_outside_of_the_partitions_are_refused(lake: Lake) -> None:
    with pytest.raises(ValueError, match="2026-10-02"):
        replace_partitions(lake.tables, CONTRACT, DAYS[:1], rows(health(DAYS[1], "a")), inputs=())


def interactions(lake: Lake, number: int) -> TableVersion:
    from lake.contracts.agent_interactions import AGENT_INTERACTIONS

    return lake.tables.append(AGENT_INTERACTIONS, table([interaction(number)]), key=f"{number}")


def test_a_run_with_older_inputs_does_not_overwrite_newer_rows(lake: Lake) -> None:
    older, newer = interactions(lake, 1), interactions(lake, 2)
    replace_partitions(lake.tables, CONTRACT, DAYS[:1], rows(health(DAYS[0], "new", requests=2)), inputs=[newer])
    late = replace_partitions(lake.tables, CONTRACT, DAYS[:1], rows(health(DAYS[0], "old")), inputs=[older])
    assert late.overtaken
    assert stored(lake) == {DAYS[0]: [2, 2]}


def test_the_snapshots_summary_holds_the_partitions_and_the_inputs(lake: Lake) -> None:
    pinned = interactions(lake, 1)
    replace_partitions(lake.tables, CONTRACT, DAYS[:2], rows(health(DAYS[0], "a")), inputs=[pinned])
    [snapshot] = lake.tables.snapshots(CONTRACT)
    assert snapshot.summary
    summary = snapshot.summary.additional_properties
    assert summary["fuelline.inputs"] == f'["{pinned}"]'
    assert summary["fuelline.partitions"] == '["2026-10-01"]'


def test_a_commit_that_was_overtaken_begins_again_on_the_other_writers_snapshot(
    lake: Lake, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_partitions(lake.tables, CONTRACT, DAYS, rows(*(health(day, "a") for day in DAYS)), inputs=())
    rival, ensure = open_lake(settings), Tables.ensure
    raced: list[bool] = []

    def ensure_and_be_overtaken(self: Tables, contract: Any) -> Any:
        found = ensure(self, contract)
        if self is lake.tables and not raced:
            raced.append(True)
            replace_partitions(rival.tables, CONTRACT, DAYS[:1], rows(health(DAYS[0], "rival", requests=9)), inputs=())
        return found

    monkeypatch.setattr(Tables, "ensure", ensure_and_be_overtaken)
    done = replace_partitions(lake.tables, CONTRACT, DAYS[1:2], rows(health(DAYS[1], "mine", requests=5)), inputs=())
    assert raced
    assert done.replaced == (DAYS[1],)
    assert stored(lake) == {DAYS[0]: [9, 9], DAYS[1]: [5, 5], DAYS[2]: [1, 1]}
    assert _orphans(lake) == set()


def _orphans(lake: Lake) -> set[str]:
    """Data files that no snapshot refers to."""
    known: set[str] = set()
    for snapshot in lake.tables.snapshots(CONTRACT):
        version = TableVersion(table=CONTRACT.table, snapshot_id=snapshot.snapshot_id, rows=0)
        for paths in files_by_partition(lake.tables, CONTRACT, version).values():
            known |= {Path(path).name for path in paths}
    stored_files = {path.name for path in Path(lake.settings.store_address, "warehouse", "curated").rglob("*.parquet")}
    assert known <= stored_files
    return stored_files - known


def _replace(home: str, day_number: int, origin: str) -> int:
    lake = open_lake(read_settings(home=Path(home), lake="test"))
    day = DAYS[day_number]
    made = rows(health(day, origin, requests=int(origin)))
    return len(replace_partitions(lake.tables, CONTRACT, [day], made, inputs=()).replaced)


def test_of_many_processes_with_the_same_rows_one_writes(settings: Settings) -> None:
    wrote = at_once(_replace, [(str(settings.home), day, str(day + 1)) for day in (0, 1) for _ in range(3)])
    lake = open_lake(settings)
    assert sum(wrote) == 2
    assert len(lake.tables.snapshots(CONTRACT)) == 2
    assert stored(lake) == {DAYS[0]: [1, 1], DAYS[1]: [2, 2]}


def test_partitions_are_replaced_on_s3_too(s3_lake: Lake) -> None:
    for origin in ("a", "a", "b"):
        replace_partitions(s3_lake.tables, CONTRACT, DAYS[:1], rows(health(DAYS[0], origin)), inputs=())
    assert len(s3_lake.tables.snapshots(CONTRACT)) == 2
    assert stored(s3_lake) == {DAYS[0]: [1, 1]}

"""Rows past their retention leave the table, every tag and the raw zone; the ledger has counts and no data."""

import json
from datetime import UTC, date, datetime, timedelta

import pytest

from lake.contracts import contracts
from lake.contracts.agent_interactions import AGENT_INTERACTIONS as CONTRACT
from lake.contracts.base import Contract
from lake.contracts.training_sets import TRAINING_SETS
from lake.lake import Lake
from lake.maintenance.expiry import COUNTED_FROM, added_rows, expire
from lake.maintenance.orphans import remove_orphans
from lake.maintenance.retention import RetentionDue, cutoff, find_due, remove_due
from lake.maintenance.run import MaintenancePolicy, run_maintenance
from lake.tables.properties import MAINTENANCE
from lake.tables.versions import TableVersion
from tests.lake.rows import START, interaction, summary_of, table
from tests.world.world import training_set

NOW = START + timedelta(days=182, hours=1)
"""A Thursday: rows that will be older than 180 days on the coming Monday are removed."""
CUT = date(2026, 10, 7)


def day(lake: Lake, number: int) -> TableVersion:
    """Two rows on day ``number``, one per cluster."""
    rows = table(interaction(number * 1440 + n) for n in range(2))
    return lake.tables.append(CONTRACT, rows, key=f"day {number}")


def days(lake: Lake, *numbers: int) -> list[TableVersion]:
    return [day(lake, number) for number in numbers]


def ids(lake: Lake, version: TableVersion | None = None) -> set[int]:
    version = version or lake.tables.current(CONTRACT)
    assert version
    return {int(name[1:]) // 1440 for name in lake.tables.read(version)["interaction_id"].to_pylist()}


def tagged(lake: Lake, tag: str) -> TableVersion:
    snapshot = lake.tables.load(CONTRACT.table).snapshot_by_name(tag)
    assert snapshot
    return TableVersion(table=CONTRACT.table, snapshot_id=snapshot.snapshot_id, rows=0)


def enforced(lake: Lake, now: datetime = NOW) -> RetentionDue:
    due = find_due(lake, CONTRACT, now)
    remove_due(lake, CONTRACT, due)
    return due


@pytest.mark.parametrize("contract", contracts().values(), ids=lambda contract: contract.name)
def test_no_row_is_older_than_its_contract_allows_and_the_cutoff_moves_once_a_week(contract: Contract) -> None:
    monday = datetime(2026, 11, 2, tzinfo=UTC)
    cuts = {cutoff(contract, monday + timedelta(hours=hours)) for hours in range(24 * 7)}
    assert len(cuts) == 1
    [cut] = cuts
    assert cut + timedelta(days=contract.retention_days) == monday.date() + timedelta(weeks=1)
    assert cutoff(contract, monday + timedelta(weeks=1)) == cut + timedelta(weeks=1)


def test_rows_past_their_days_leave_the_table_and_newer_ones_stay(lake: Lake) -> None:
    days(lake, 0, 3, 5, 6, 30)
    due = enforced(lake)
    assert (due.cut, due.rows, due.first, due.tags, due.raw_objects) == (CUT.isoformat(), 6, "2026-10-01", [], 0)
    assert ids(lake) == {6, 30}
    assert find_due(lake, CONTRACT, NOW).empty


def test_a_tag_loses_the_rows_and_keeps_the_others(lake: Lake) -> None:
    _, first, second = days(lake, 0, 9, 20)
    lake.tables.tag(first, "agents-v1")
    lake.tables.tag(second, "agents-v2")
    assert enforced(lake).tags == ["agents-v1", "agents-v2"]
    assert ids(lake, tagged(lake, "agents-v1")) == {9}
    assert ids(lake, tagged(lake, "agents-v2")) == {9, 20}
    assert set(lake.tables.load(CONTRACT.table).refs()) == {"main", "agents-v1", "agents-v2"}


def test_a_tag_without_such_rows_is_not_touched(lake: Lake) -> None:
    day(lake, 9)
    lake.tables.tag(day(lake, 10), "agents-v1")
    before = tagged(lake, "agents-v1")
    day(lake, 0)
    assert enforced(lake).tags == []
    assert tagged(lake, "agents-v1") == before


def test_after_expiry_and_orphan_removal_the_rows_are_in_no_file(lake: Lake) -> None:
    _, pinned = days(lake, 0, 9)
    lake.tables.tag(pinned, "agents-v1")
    lake.tables.tag(pinned, f"{COUNTED_FROM}agents")
    enforced(lake)
    expire(lake.tables, CONTRACT, datetime.now(UTC) + timedelta(days=1))
    remove_orphans(lake, CONTRACT, grace=timedelta(seconds=-2))
    left = list(lake.store.list("warehouse/processed/agent_interactions/data/"))
    assert left
    assert all("timestamp_day=2026-10-10" in key for key in left)
    assert ids(lake, tagged(lake, "agents-v1")) == {9}


def test_new_rows_are_still_counted_after_their_first_snapshot_was_removed(lake: Lake) -> None:
    _, pinned, _ = days(lake, 0, 9, 20)
    lake.tables.tag(pinned, f"{COUNTED_FROM}agents")
    assert added_rows(lake.tables, CONTRACT, pinned) == 2
    for week in range(3):
        enforced(lake, NOW + timedelta(weeks=week))
        expire(lake.tables, CONTRACT, datetime.now(UTC) + timedelta(days=1))
        assert added_rows(lake.tables, CONTRACT, pinned) == 2 * week + 2
        day(lake, 30 + week)
        assert added_rows(lake.tables, CONTRACT, pinned) == 2 * week + 4
    assert pinned.snapshot_id not in {snapshot.snapshot_id for snapshot in lake.tables.snapshots(CONTRACT)}


def test_an_interrupted_run_is_completed_and_recorded_once(lake: Lake) -> None:
    _, pinned = days(lake, 0, 9)
    lake.tables.tag(pinned, "agents-v1")
    due = find_due(lake, CONTRACT, NOW)
    lake.tables.load(CONTRACT.table).manage_snapshots().create_branch(
        pinned.snapshot_id, "retention-agents-v1"
    ).commit()
    first, second = remove_due(lake, CONTRACT, due), remove_due(lake, CONTRACT, due)
    assert first == second
    assert [entry.kind for entry in lake.ledger.entries(f"retention/{CONTRACT.name}")] == [
        "retention_due",
        "retention_done",
    ]
    assert ids(lake, tagged(lake, "agents-v1")) == {9}


def test_the_ledger_has_counts_days_and_moved_tags_and_no_data(lake: Lake) -> None:
    _, pinned = days(lake, 0, 9)
    lake.tables.tag(pinned, "agents-v1")
    enforced(lake)
    entry = lake.ledger.entries(f"retention/{CONTRACT.name}", kind="retention_done")[0]
    assert (entry.payload["rows"], entry.payload["first"], entry.payload["cut"]) == (2, "2026-10-01", CUT.isoformat())
    assert entry.payload["moved"] == {"agents-v1": [pinned.snapshot_id, tagged(lake, "agents-v1").snapshot_id]}
    assert "user-" not in json.dumps(entry.payload)
    assert "question" not in json.dumps(entry.payload)


def test_raw_objects_that_landed_before_the_cutoff_are_deleted(lake: Lake) -> None:
    for name in ("2026-10-06/a.jsonl", "2026-10-07/b.jsonl"):
        lake.store.write(f"raw/agents/{name}", b"{}")
    for day in ("2026-10-06", "2026-10-07"):
        lake.store.write(f"raw/agents/loki-studio/{day}/d.jsonl", b"{}")
    lake.store.write("raw/feedback/2026-10-06/c.jsonl", b"{}")
    assert enforced(lake).raw_objects == 2
    assert list(lake.store.list("raw/")) == [
        "raw/agents/2026-10-07/b.jsonl",
        "raw/agents/loki-studio/2026-10-07/d.jsonl",
        "raw/feedback/2026-10-06/c.jsonl",
    ]


def test_rows_of_a_training_set_are_removed_by_their_own_time(lake: Lake) -> None:
    made = training_set(lake, rows=40)
    lake.tables.tag(made.table, "agents-v1")
    a_year_later = made.cut + timedelta(days=365)
    assert find_due(lake, TRAINING_SETS, a_year_later - timedelta(days=10)).empty
    due = find_due(lake, TRAINING_SETS, a_year_later)
    assert (due.rows, due.tags) == (40, ["agents-v1"])
    remove_due(lake, TRAINING_SETS, due)
    assert find_due(lake, TRAINING_SETS, a_year_later).empty


def test_a_training_set_can_be_found_by_its_key_until_retention_overtakes_it(lake: Lake) -> None:
    made = training_set(lake, rows=40)
    training_set(lake, "another", rows=40)
    lake.ledger.clock = lambda: datetime.now(UTC) + timedelta(days=100)
    run_maintenance(lake, TRAINING_SETS, MaintenancePolicy())
    assert lake.tables.read(made.table).num_rows == 40
    assert MAINTENANCE not in summary_of(lake, TRAINING_SETS, "policy")

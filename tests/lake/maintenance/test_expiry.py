"""New rows are counted from summaries, unaffected by maintenance; expiry keeps the snapshots for that count."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from errors import UnknownName
from lake.contracts.agent_interactions import AGENT_INTERACTIONS as CONTRACT
from lake.lake import Lake
from lake.maintenance import expiry
from lake.maintenance.expiry import COUNTED_FROM, added_rows, expire
from lake.tables.properties import MAINTENANCE
from lake.tables.versions import TableVersion
from tests.lake.rows import interaction, table


def start_of(lake: Lake) -> TableVersion:
    """Three appends of 2, 3 and 4 rows; the version after the first."""
    first = lake.tables.append(CONTRACT, table(interaction(n) for n in range(2)), key="a")
    lake.tables.append(CONTRACT, table(interaction(n) for n in range(2, 5)), key="b")
    lake.tables.append(CONTRACT, table(interaction(n) for n in range(5, 9)), key="c")
    return first


def test_new_rows_are_counted_from_the_summaries_since_a_version(lake: Lake) -> None:
    assert added_rows(lake.tables, CONTRACT, None) == 0
    first = start_of(lake)
    assert added_rows(lake.tables, CONTRACT, None) == 9
    assert added_rows(lake.tables, CONTRACT, first) == 7
    assert added_rows(lake.tables, CONTRACT, lake.tables.current(CONTRACT)) == 0
    again = lake.tables.append(CONTRACT, table(interaction(n) for n in range(9)), key="the same rows, another key")
    assert again.rows == 9
    assert added_rows(lake.tables, CONTRACT, first) == 7


def test_maintenance_does_not_change_the_count_of_new_rows(lake: Lake) -> None:
    first = start_of(lake)
    iceberg = lake.tables.load(CONTRACT.table)
    iceberg.delete("interaction_id == 'i000001'", snapshot_properties={MAINTENANCE: "erasure"})
    everything = iceberg.refresh().scan().to_arrow()
    iceberg.overwrite(everything, snapshot_properties={MAINTENANCE: "compaction"})
    assert added_rows(lake.tables, CONTRACT, first) == 7
    lake.tables.append(CONTRACT, table([interaction(20)]), key="d")
    assert added_rows(lake.tables, CONTRACT, first) == 8


def test_expiry_never_passes_the_oldest_snapshot_that_a_model_counts_from(lake: Lake) -> None:
    versions = [lake.tables.append(CONTRACT, table([interaction(n)]), key=str(n)) for n in range(6)]
    lake.tables.tag(versions[2], f"{COUNTED_FROM}agents")
    lake.tables.tag(versions[4], f"{COUNTED_FROM}bruno")
    later = datetime.now(UTC) + timedelta(days=1)
    expected = [version.snapshot_id for version in versions[:2]]
    assert expire(lake.tables, CONTRACT, later, dry_run=True) == expected
    assert len(lake.tables.snapshots(CONTRACT)) == 6
    assert expire(lake.tables, CONTRACT, later) == expected
    assert added_rows(lake.tables, CONTRACT, versions[2]) == 3
    lake.tables.tag(versions[4], f"{COUNTED_FROM}agents", move=True)
    assert len(expire(lake.tables, CONTRACT, later)) == 2
    assert added_rows(lake.tables, CONTRACT, versions[4]) == 1
    with pytest.raises(UnknownName, match="no snapshot named"):
        added_rows(lake.tables, CONTRACT, versions[2])


def test_the_key_of_an_expired_commit_is_found_although_its_writer_left_no_marker(lake: Lake) -> None:
    first = start_of(lake)
    for mark in list(lake.store.list("markers/")):
        lake.store.delete(mark)
    assert len(expire(lake.tables, CONTRACT, datetime.now(UTC) + timedelta(days=1))) == 2
    assert lake.tables.find(CONTRACT, "a") == first
    again = lake.tables.append(CONTRACT, table(interaction(n) for n in range(100, 102)), key="a")
    assert again == first
    current = lake.tables.current(CONTRACT)
    assert current
    assert current.rows == 9


def test_expiry_is_repeated_if_a_writer_was_faster(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    start_of(lake)
    from lake.tables.commit_keys import keep_marker as keep

    def overtaken(*arguments: Any) -> None:
        monkeypatch.setattr(expiry, "keep_marker", keep)
        lake.tables.append(CONTRACT, table([interaction(50)]), key="quicker")
        keep(*arguments)

    monkeypatch.setattr(expiry, "keep_marker", overtaken)
    expire(lake.tables, CONTRACT, datetime.now(UTC) + timedelta(days=1))
    current = lake.tables.current(CONTRACT)
    assert current
    assert current.rows == 10

"""Compaction changes files and never rows: with concurrent writers, under tags, and for the count of new rows."""

import threading
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.parquet
import pytest

import lake.maintenance.compaction as lake_compaction
from errors import IntegrityError
from lake.contracts.agent_interactions import AGENT_INTERACTIONS as CONTRACT
from lake.lake import Lake, open_lake
from lake.maintenance.compaction import CompactionPolicy, compact
from lake.maintenance.expiry import COUNTED_FROM, added_rows, expire
from lake.maintenance.orphans import remove_orphans
from lake.tables.versions import TableVersion
from tests.lake.rows import interaction, table

RULE = CompactionPolicy(min_files=2, min_manifests=4)
NO_GRACE = timedelta(seconds=-1)


def grow(lake: Lake, commits: int, first: int = 0) -> list[TableVersion]:
    """One commit of four rows each, over two clusters."""
    numbers = range(first, first + commits)
    return [
        lake.tables.append(CONTRACT, table(interaction(4 * n + m) for m in range(4)), key=f"commit {n}")
        for n in numbers
    ]


def rows(lake: Lake, version: TableVersion | None = None) -> list[dict[str, object]]:
    version = version or lake.tables.current(CONTRACT)
    assert version
    found: pa.Table = lake.tables.read(version)
    return found.sort_by("interaction_id").to_pylist()


def files(lake: Lake) -> list[str]:
    return [task.file.file_path for task in lake.tables.load(CONTRACT.table).scan().plan_files()]


def test_small_files_become_one_per_partition_with_the_same_rows(lake: Lake) -> None:
    grow(lake, 6)
    before = rows(lake)
    assert len(files(lake)) == 12
    done = compact(lake.tables, CONTRACT, RULE)
    assert (done.partitions, done.files_before, done.files_after, done.rows) == (2, 12, 2, 24)
    assert len(files(lake)) == 2
    assert rows(lake) == before


def test_a_compacted_file_is_sorted_by_time(lake: Lake) -> None:
    lake.tables.append(CONTRACT, table(interaction(n) for n in (8, 4)), key="late")
    lake.tables.append(CONTRACT, table(interaction(n) for n in (6, 2)), key="early")
    compact(lake.tables, CONTRACT, RULE)
    [path] = files(lake)
    times = pa.parquet.read_table(path.removeprefix("file://"))["timestamp"].to_pylist()
    assert times == sorted(times)


def test_a_compact_table_is_not_rewritten(lake: Lake) -> None:
    grow(lake, 3)
    compact(lake.tables, CONTRACT, RULE)
    snapshots = lake.tables.snapshots(CONTRACT)
    assert compact(lake.tables, CONTRACT, RULE).files_before == 0
    assert lake.tables.snapshots(CONTRACT) == snapshots


def test_a_dry_run_reports_and_changes_nothing(lake: Lake) -> None:
    grow(lake, 3)
    report = compact(lake.tables, CONTRACT, RULE, dry_run=True)
    assert (report.files_before, report.files_after, report.rows) == (6, 2, 12)
    assert len(lake.tables.snapshots(CONTRACT)) == 3


def test_files_of_one_partition_are_packed_up_to_the_target(lake: Lake) -> None:
    grow(lake, 6)
    size = max(task.file.file_size_in_bytes for task in lake.tables.load(CONTRACT.table).scan().plan_files())
    rule = CompactionPolicy(min_files=2, min_manifests=99, small_share=1.0, target_mb=(2.5 * size) / 1e6)
    done = compact(lake.tables, CONTRACT, rule)
    assert (done.files_before, done.files_after) == (12, 6)


def test_new_rows_are_counted_the_same_across_compactions(lake: Lake) -> None:
    first, *_ = grow(lake, 5)
    compact(lake.tables, CONTRACT, RULE)
    assert added_rows(lake.tables, CONTRACT, first) == 16
    grow(lake, 2, first=5)
    assert added_rows(lake.tables, CONTRACT, first) == 24
    compact(lake.tables, CONTRACT, RULE)
    assert added_rows(lake.tables, CONTRACT, first) == 24
    assert added_rows(lake.tables, CONTRACT, None) == 28


def test_manifests_are_merged_and_every_row_is_still_found(lake: Lake) -> None:
    grow(lake, 6)
    before = rows(lake)
    done = compact(lake.tables, CONTRACT, CompactionPolicy(min_files=99, min_manifests=4))
    assert (done.files_before, done.manifests_merged) == (0, 6)
    current = lake.tables.load(CONTRACT.table).current_snapshot()
    assert current is not None
    assert len(current.manifests(lake.tables.load(CONTRACT.table).io)) == 1
    assert rows(lake) == before
    assert added_rows(lake.tables, CONTRACT, None) == 24


def test_a_tagged_snapshot_reads_the_same_rows_after_compaction_expiry_and_orphan_removal(lake: Lake) -> None:
    versions = grow(lake, 5)
    tagged, counted = versions[1], versions[2]
    before = rows(lake, tagged)
    lake.tables.tag(tagged, "agents-v1")
    lake.tables.tag(counted, f"{COUNTED_FROM}agents")
    compact(lake.tables, CONTRACT, RULE)
    expire(lake.tables, CONTRACT, datetime.now(UTC) + timedelta(days=1))
    remove_orphans(lake, CONTRACT, grace=NO_GRACE)
    assert rows(lake, tagged) == before
    assert len(rows(lake)) == 20
    assert added_rows(lake.tables, CONTRACT, counted) == 8


def test_concurrent_writers_and_compactions_lose_and_duplicate_no_row(lake: Lake) -> None:
    grow(lake, 4)
    stop = threading.Event()

    def keep_compacting() -> None:
        own = open_lake(lake.settings)
        while not stop.is_set():
            compact(own.tables, CONTRACT, RULE)

    workers = [threading.Thread(target=keep_compacting) for _ in range(2)]
    for worker in workers:
        worker.start()
    grow(lake, 12, first=4)
    stop.set()
    for worker in workers:
        worker.join()
    assert [row["interaction_id"] for row in rows(lake)] == [f"i{n:06d}" for n in range(64)]
    assert added_rows(lake.tables, CONTRACT, None) == 64


def test_an_append_between_rewriting_and_the_swap_is_kept(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    grow(lake, 3)
    write = lake_compaction._swap

    def late(*arguments: object) -> object:
        grow(lake, 1, first=3)
        return write(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(lake_compaction, "_swap", late)
    assert compact(lake.tables, CONTRACT, RULE).files_before == 6
    assert len(rows(lake)) == 16


def test_files_that_another_compaction_replaced_first_are_not_replaced_again(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    grow(lake, 3)
    write = lake_compaction._swap

    def overtaken(*arguments: object) -> object:
        monkeypatch.setattr(lake_compaction, "_swap", write)
        assert compact(open_lake(lake.settings).tables, CONTRACT, RULE).files_after == 2
        return write(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(lake_compaction, "_swap", overtaken)
    assert compact(lake.tables, CONTRACT, RULE).files_before == 0
    assert len(rows(lake)) == 12
    expire(lake.tables, CONTRACT, datetime.now(UTC) + timedelta(days=1))
    remove_orphans(lake, CONTRACT, grace=NO_GRACE)
    assert len(list(lake.store.list("warehouse/processed/agent_interactions/data/"))) == 2


def test_a_rewritten_file_with_another_row_is_never_committed(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    grow(lake, 3)
    read, before = lake_compaction._read, rows(lake)
    reads = iter(range(100))

    def loses_a_row_once(*arguments: object) -> pa.Table:
        found = read(*arguments)  # type: ignore[arg-type]
        return found.slice(1) if next(reads) == 0 else found

    monkeypatch.setattr(lake_compaction, "_read", loses_a_row_once)
    with pytest.raises(IntegrityError, match="6 rows of 3 files became 5 rows"):
        compact(lake.tables, CONTRACT, RULE)
    assert rows(lake) == before
    assert len(list(lake.store.list("warehouse/processed/agent_interactions/data/"))) == 6


def test_a_read_that_finds_no_row_in_either_file_is_no_proof(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    grow(lake, 3)
    read, before = lake_compaction._read, rows(lake)
    monkeypatch.setattr(lake_compaction, "_read", lambda *files: read(*files).slice(0, 0))
    with pytest.raises(IntegrityError, match="0 rows of 3 files became 0 rows or others"):
        compact(lake.tables, CONTRACT, RULE)
    monkeypatch.setattr(lake_compaction, "_read", read)
    assert rows(lake) == before

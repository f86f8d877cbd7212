"""Compaction: the small files of a partition become few, sorted by time, and not a row is different.

Hourly commits leave a file an hour and cluster, and every read opens them all. The files are rewritten while writers
go on appending, because data files never change: what is swapped in the end is a set of names. The swap is one commit
on exactly the snapshot that still held the old files; where a writer was quicker, only the swap begins again. Where
somebody else has replaced a file meanwhile, the rewritten ones are thrown away, so each file is compacted once or not
at all. Snapshots from before the swap, tagged ones too, go on reading the old files.

Memory holds one bin of a partition: files of ``target_mb`` in all, decoded.
"""

import contextlib
import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from errors import IntegrityError, PeerError
from lake.contracts.base import Contract
from lake.tables.commit import CommitOutcome, commit_once, retry_commit
from lake.tables.engine import connect
from lake.tables.properties import MAINTENANCE
from lake.tables.tables import Tables

if TYPE_CHECKING:
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import FileScanTask, Table, Transaction

COMPACTION, MERGED = "compaction", "manifests"
"""What ``MAINTENANCE`` says in the summary of such a commit."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CompactionRule:
    """What is worth rewriting."""

    target_mb: float = 32.0
    """Size of a rewritten file at most (MB, compressed); a few times as much is held in memory while it is written."""
    small_share: float = 0.75
    """A file below this share of the target is small."""
    min_files: int = 4
    """A partition is compacted when it has so many small files."""
    min_manifests: int = 16
    """So many lists of files are made into one: a read opens them all before it opens a file."""
    files_a_commit: int = 500
    """Files that one commit replaces, about; more of them in one commit are lost together when it cannot be made."""

    def __post_init__(self) -> None:
        if self.target_mb <= 0 or not 0 < self.small_share <= 1 or min(self.min_files, self.min_manifests) < 2:
            raise ValueError(f"target_mb > 0, 0 < small_share <= 1, at least 2 files and manifests: not {self}")

    @property
    def target_bytes(self) -> int:
        """``target_mb`` in bytes."""
        return int(self.target_mb * 1_000_000)


@dataclass(frozen=True, kw_only=True, slots=True)
class Compacted:
    """What became of a table's small files."""

    partitions: int = 0
    files_before: int = 0
    """Of those that were rewritten, or would be."""
    files_after: int = 0
    rows: int = 0
    """Rows that were rewritten, and not changed."""
    manifests_merged: int = 0


@dataclass(frozen=True, kw_only=True)
class _Swap:
    """Files that stand for one another."""

    old: "list[DataFile]"
    new: "list[DataFile]"


def compact(tables: Tables, contract: Contract, rule: CompactionRule, *, dry_run: bool = False) -> Compacted:
    """Rewrite the small files of every partition that has enough of them, then merge the lists of files.

    Raises:
        UnknownName: there is no such table.
        IntegrityError: a rewritten file does not hold the same rows; nothing was changed.
        CommitContended: writers won every race.
    """
    table = tables.load(contract.table)
    bins = list(_bins(table, rule))
    done = Compacted(
        partitions=len({str(one[0].file.partition) for one in bins}),
        files_before=sum(len(one) for one in bins),
        files_after=len(bins),
        rows=sum(task.file.record_count for one in bins for task in one),
        manifests_merged=_surplus(table, rule),
    )
    if dry_run:
        return done
    swapped: list[_Swap] = []
    for several in _batches(bins, rule.files_a_commit):
        swapped += _rewrite(tables, contract, table, several)
    return Compacted(
        partitions=len({str(one.old[0].partition) for one in swapped}),
        files_before=sum(len(one.old) for one in swapped),
        files_after=sum(len(one.new) for one in swapped),
        rows=sum(file.record_count for one in swapped for file in one.old),
        manifests_merged=_merge_manifests(tables, contract, rule),
    )


def _bins(table: "Table", rule: CompactionRule) -> "Iterator[list[FileScanTask]]":
    """Small files of one partition that fit into one file, the oldest first. Files with row-level deletes, which only
    other engines write, are left to those.
    """
    small: dict[str, list[FileScanTask]] = defaultdict(list)
    for task in table.scan().plan_files():
        own = task.file.spec_id == table.spec().spec_id and not task.delete_files
        if own and task.file.file_size_in_bytes < rule.small_share * rule.target_bytes:
            small[str(task.file.partition)].append(task)
    for tasks in small.values():
        if len(tasks) >= rule.min_files:
            yield from (one for one in _packed(tasks, rule.target_bytes) if len(one) > 1)


def _packed(tasks: "list[FileScanTask]", most: int) -> "Iterator[list[FileScanTask]]":
    filled: list[FileScanTask] = []
    for task in sorted(tasks, key=lambda one: (sorted((one.file.lower_bounds or {}).items()), one.file.file_path)):
        if filled and sum(one.file.file_size_in_bytes for one in [*filled, task]) > most:
            yield filled
            filled = []
        filled.append(task)
    if filled:
        yield filled


def _batches(bins: "list[list[FileScanTask]]", most: int) -> "Iterator[list[list[FileScanTask]]]":
    count = itertools.accumulate(len(one) for one in bins)
    for _, group in itertools.groupby(zip(count, bins, strict=True), key=lambda pair: pair[0] // most):
        yield [one for _, one in group]


def _rewrite(tables: Tables, contract: Contract, table: "Table", bins: "list[list[FileScanTask]]") -> "list[_Swap]":
    """Write the new files, then swap. Whatever is not in the table in the end is removed, unless nobody can tell."""
    written: list[DataFile] = []
    try:
        swaps = []
        for tasks in bins:
            new = _write_sorted(contract, table, tasks)
            written += new
            _require_same(contract, table, tasks, new)
            swaps.append(_Swap(old=[task.file for task in tasks], new=new))
        done = _swap(tables, contract, swaps)
    except PeerError:
        raise  # the commit may be in effect: the files stay, and the search for orphans finds them otherwise
    except BaseException:
        _remove(table, written)
        raise
    _remove(table, set(written) - {file for swap in done for file in swap.new})
    return done


def _write_sorted(contract: Contract, table: "Table", tasks: "list[FileScanTask]") -> "list[DataFile]":
    from pyiceberg.io.pyarrow import _dataframe_to_data_files

    rows = _read(table, tasks)
    order = [contract.time_column, *(column for column in contract.key if column != contract.time_column)]
    rows = rows.sort_by([(column, "ascending") for column in order])
    files = list(_dataframe_to_data_files(table.metadata, rows, table.io))
    for file in files:
        file.spec_id = table.spec().spec_id  # which the library sets on files that it reads from a manifest only
    return files


def _require_same(contract: Contract, table: "Table", old: "list[FileScanTask]", new: "list[DataFile]") -> None:
    """Read both back and compare them as multisets of rows."""
    from pyiceberg.table import FileScanTask

    before = _checksum(_read(table, old))
    after = _checksum(_read(table, [FileScanTask(file) for file in new]))
    if before != after:
        raise IntegrityError(
            f"{contract.table}: {before[0]} rows of {len(old)} files became {after[0]} rows or others; nothing was "
            "changed. Run `fuelline ledger verify` and check the store's health before the next compaction"
        )


def _checksum(rows: pa.Table) -> tuple[int, int]:
    """Rows, and the sum of their hashes: equal for equal multisets, whatever the order."""
    columns = ", ".join(f'"{name}"' for name in rows.schema.names)
    with connect(threads=1) as db:
        db.register("rows", rows)
        told = db.execute(f"SELECT count(*), coalesce(sum(hash({columns})::HUGEINT), 0) FROM rows").fetchall()[0]
    return int(told[0]), int(told[1])


def _read(table: "Table", tasks: "Iterable[FileScanTask]") -> pa.Table:
    from pyiceberg.expressions import AlwaysTrue
    from pyiceberg.io.pyarrow import ArrowScan

    scan = ArrowScan(
        table_metadata=table.metadata, io=table.io, projected_schema=table.schema(), row_filter=AlwaysTrue()
    )
    return scan.to_table(tasks=tasks)


def _swap(tables: Tables, contract: Contract, swaps: "list[_Swap]") -> "list[_Swap]":
    """Commit the swaps whose old files are all still in the table; returns those."""

    def attempt() -> list[_Swap] | None:
        table = tables.load(contract.table)
        live = {task.file for task in table.scan().plan_files()}
        possible = [swap for swap in swaps if live.issuperset(swap.old)]
        if not possible:
            return []
        transaction = table.transaction()
        with transaction.update_snapshot(snapshot_properties={MAINTENANCE: COMPACTION}).overwrite() as producer:
            for swap in possible:
                for file in swap.old:
                    producer.delete_data_file(file)
                for file in swap.new:
                    producer.append_data_file(file)
        return possible if _commit(tables, contract, transaction, producer.snapshot_id) else None

    return retry_commit(attempt, contract.table, "a compaction")


def _commit(tables: Tables, contract: Contract, transaction: "Transaction", snapshot_id: int) -> bool:
    """Commit; False if another writer was first. An unknown outcome is an error, because a second attempt would take
    the first one's own files for another writer's.
    """
    outcome = commit_once(
        transaction, contract.table, lambda: tables.load(contract.table).snapshot_by_id(snapshot_id) is not None
    )
    if outcome is CommitOutcome.UNKNOWN:
        raise PeerError(f"{contract.table}: it is unknown whether a maintenance commit took effect")
    return outcome is CommitOutcome.DONE


def _remove(table: "Table", files: "Iterable[DataFile]") -> None:
    for file in files:
        with contextlib.suppress(FileNotFoundError):
            table.io.delete(file.file_path)


def _surplus(table: "Table", rule: CompactionRule) -> int:
    """Lists of files in the newest snapshot, where there are enough of them to merge; else 0."""
    current = table.current_snapshot()
    manifests = len(current.manifests(table.io)) if current else 0
    return manifests if manifests >= rule.min_manifests else 0


def _merge_manifests(tables: Tables, contract: Contract, rule: CompactionRule) -> int:
    """Make the newest snapshot's lists of files one, by a commit that brings nothing; how many there were."""

    def attempt() -> int | None:
        table = tables.load(contract.table)
        if not (surplus := _surplus(table, rule)):
            return 0
        transaction = table.transaction()
        with transaction.update_snapshot(snapshot_properties={MAINTENANCE: MERGED}).merge_append() as producer:
            producer._merge_enabled, producer._min_count_to_merge = True, 2  # type: ignore[attr-defined]
        return surplus if _commit(tables, contract, transaction, producer.snapshot_id) else None

    return retry_commit(attempt, contract.table, "merging the manifests")

"""Compaction: the small files of a partition become few, sorted by time, with the same rows.

Hourly commits leave a file per hour and cluster, and every read opens all of them. The files are rewritten while
writers go on appending, because data files never change: in the end a set of file names is swapped. The swap is one
commit on a snapshot that still has the old files; if a writer was faster, only the swap is repeated. If another process
has replaced a file meanwhile, the rewritten ones are deleted, so each file is compacted once or not at all. Snapshots
from before the swap, tagged ones included, keep reading the old files.

Memory holds one bin of a partition: files of ``target_mb`` in total, decoded.
"""

import contextlib
import itertools
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa

from errors import IntegrityError, PeerError
from lake.contracts.base import Contract
from lake.tables.commit import CommitOutcome, commit_once, retry_commit
from lake.tables.engine import connect
from lake.tables.properties import MAINTENANCE
from lake.tables.tables import Tables

if TYPE_CHECKING:
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Table, Transaction

COMPACTION, MERGED = "compaction", "manifests"
"""Values of ``MAINTENANCE`` in the summaries of such commits."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CompactionPolicy:
    """When files are rewritten."""

    target_mb: float = 32.0
    """Largest size of a rewritten file (MB, compressed); memory holds a few times as much while it is written."""
    small_share: float = 0.75
    """A file below this share of the target is small."""
    min_files: int = 4
    """A partition is compacted when it has this many small files."""
    min_manifests: int = 16
    """This many manifests (lists of files) are merged into one: a read opens them all before it opens a file."""
    files_a_commit: int = 500
    """About how many files one commit replaces; if the commit fails, their rewriting was in vain."""

    def __post_init__(self) -> None:
        if self.target_mb <= 0 or not 0 < self.small_share <= 1 or min(self.min_files, self.min_manifests) < 2:
            raise ValueError(f"target_mb > 0, 0 < small_share <= 1, at least 2 files and manifests: not {self}")


@dataclass(frozen=True, kw_only=True, slots=True)
class CompactionResult:
    """The result for a table."""

    partitions: int = 0
    files_before: int = 0
    """Files that were rewritten, or would be."""
    files_after: int = 0
    rows: int = 0
    """Rows that were rewritten, unchanged."""
    manifests_merged: int = 0


class _Swap(NamedTuple):
    """Old files, and new files with the same rows."""

    old: "list[DataFile]"
    new: "list[DataFile]"


def compact(tables: Tables, contract: Contract, rule: CompactionPolicy, *, dry_run: bool = False) -> CompactionResult:
    """Rewrite the small files of every partition that has enough of them, then merge the manifests.

    Raises:
        UnknownName: there is no such table.
        IntegrityError: a rewritten file does not hold the same rows; nothing was changed.
        CommitContended: writers won every race.
    """
    table = tables.load(contract.table)
    bins = list(_bins(table, rule))
    if dry_run:
        return _result(bins, len(bins), _surplus(table, rule))
    swapped: list[_Swap] = []
    for batch in _batches(bins, rule.files_a_commit):
        swapped += _rewrite(tables, contract, table, batch)
    written = sum(len(swap.new) for swap in swapped)
    return _result([swap.old for swap in swapped], written, _merge_manifests(tables, contract, rule))


def _result(replaced: "list[list[DataFile]]", files_after: int, manifests_merged: int) -> CompactionResult:
    return CompactionResult(
        partitions=len({str(files[0].partition) for files in replaced}),
        files_before=sum(map(len, replaced)),
        files_after=files_after,
        rows=sum(file.record_count for files in replaced for file in files),
        manifests_merged=manifests_merged,
    )


def _bins(table: "Table", rule: CompactionPolicy) -> "Iterator[list[DataFile]]":
    """Lists of small files of one partition that fit into one file, the oldest first. Files with row-level deletes,
    which only other engines write, are left out.
    """
    target = int(rule.target_mb * 1_000_000)
    small: dict[str, list[DataFile]] = defaultdict(list)
    for task in table.scan().plan_files():
        own = task.file.spec_id == table.spec().spec_id and not task.delete_files
        if own and task.file.file_size_in_bytes < rule.small_share * target:
            small[str(task.file.partition)].append(task.file)
    for files in small.values():
        if len(files) >= rule.min_files:
            yield from (packed for packed in _packed(files, target) if len(packed) > 1)


def _packed(files: "list[DataFile]", most: int) -> "Iterator[list[DataFile]]":
    """Files in order of their least values, which begin with the oldest time, in lists of at most ``most`` bytes."""
    filled: list[DataFile] = []
    for file in sorted(files, key=lambda file: (sorted((file.lower_bounds or {}).items()), file.file_path)):
        if filled and sum(packed.file_size_in_bytes for packed in [*filled, file]) > most:
            yield filled
            filled = []
        filled.append(file)
    yield filled


def _batches(bins: "list[list[DataFile]]", most: int) -> "Iterator[list[list[DataFile]]]":
    count = itertools.accumulate(map(len, bins))
    for _, group in itertools.groupby(zip(count, bins, strict=True), key=lambda pair: pair[0] // most):
        yield [files for _, files in group]


def _rewrite(tables: Tables, contract: Contract, table: "Table", bins: "list[list[DataFile]]") -> "list[_Swap]":
    """Write the new files, then swap. New files that did not get into the table are deleted, unless that is unknown."""
    swaps: list[_Swap] = []
    try:
        for old in bins:
            swaps.append(_Swap(old, _write_sorted(contract, table, old)))
            _require_same(contract, table, swaps[-1])
        done = _swap(tables, contract, swaps)
    except PeerError:
        raise  # the commit may be in effect: the files stay, and if it is not, they are removed as orphans
    except BaseException:
        _remove(table, swaps)
        raise
    _remove(table, [swap for swap in swaps if swap not in done])
    return done


def _write_sorted(contract: Contract, table: "Table", old: "list[DataFile]") -> "list[DataFile]":
    from pyiceberg.io.pyarrow import _dataframe_to_data_files

    order = [contract.time_column, *(column for column in contract.key if column != contract.time_column)]
    rows = _read(table, old).sort_by([(column, "ascending") for column in order])
    files = list(_dataframe_to_data_files(table.metadata, rows, table.io))
    for file in files:
        file.spec_id = table.spec().spec_id  # the library sets it only on files that it reads from a manifest
    return files


def _require_same(contract: Contract, table: "Table", swap: _Swap) -> None:
    """Read old and new files and compare them as multisets of rows, and their number with the old files' metadata."""
    before, after = _checksum(_read(table, swap.old)), _checksum(_read(table, swap.new))
    if before != after or before[0] != sum(file.record_count for file in swap.old):
        raise IntegrityError(
            f"{contract.table}: {before[0]} rows of {len(swap.old)} files became {after[0]} rows or others; nothing "
            "was changed. Run `fuelline ledger verify` and check the store's health before the next compaction"
        )


def _checksum(rows: pa.Table) -> tuple[int, int]:
    """The number of rows and the sum of their hashes: equal for equal multisets, in any order."""
    columns = ", ".join(f'"{name}"' for name in rows.schema.names)
    with connect(threads=1) as db:
        db.register("rows", rows)
        sums = db.execute(f"SELECT count(*), coalesce(sum(hash({columns})::HUGEINT), 0) FROM rows").fetchall()
    return int(sums[0][0]), int(sums[0][1])


def _read(table: "Table", files: "list[DataFile]") -> pa.Table:
    from pyiceberg.expressions import AlwaysTrue
    from pyiceberg.io.pyarrow import ArrowScan
    from pyiceberg.table import FileScanTask

    tasks = list(map(FileScanTask, files))  # read twice
    return ArrowScan(table.metadata, table.io, table.schema(), AlwaysTrue()).to_table(tasks)


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
    name = contract.table
    outcome = commit_once(transaction, name, lambda: tables.load(name).snapshot_by_id(snapshot_id) is not None)
    if outcome is CommitOutcome.UNKNOWN:
        raise PeerError(f"{name}: it is unknown whether a maintenance commit took effect")
    return outcome is CommitOutcome.DONE


def _remove(table: "Table", swaps: list[_Swap]) -> None:
    """Delete the new files."""
    for file in (file for swap in swaps for file in swap.new):
        with contextlib.suppress(FileNotFoundError):
            table.io.delete(file.file_path)


def _surplus(table: "Table", rule: CompactionPolicy) -> int:
    """Number of manifests in the newest snapshot, if there are enough to merge; else 0."""
    current = table.current_snapshot()
    manifests = len(current.manifests(table.io)) if current else 0
    return manifests if manifests >= rule.min_manifests else 0


def _merge_manifests(tables: Tables, contract: Contract, rule: CompactionPolicy) -> int:
    """Merge the manifests of the newest snapshot by a commit without rows; returns how many there were."""

    def attempt() -> int | None:
        table = tables.load(contract.table)
        if not (surplus := _surplus(table, rule)):
            return 0
        transaction = table.transaction()
        with transaction.update_snapshot(snapshot_properties={MAINTENANCE: MERGED}).merge_append() as producer:
            producer._merge_enabled, producer._min_count_to_merge = True, 2  # type: ignore[attr-defined]
        return surplus if _commit(tables, contract, transaction, producer.snapshot_id) else None

    return retry_commit(attempt, contract.table, "merging the manifests")

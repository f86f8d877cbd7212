"""One try of one keyed append: classify rows, write data files, and make them visible in a single commit."""

import functools
import logging
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from errors import PeerError
from lake.contracts.base import Contract
from lake.tables.tables import KEY, WATERMARK, Tables, narrow
from lake.tables.uniqueness import DUPLICATE, Uniqueness
from lake.tables.versions import TableVersion

if TYPE_CHECKING:
    from pyiceberg.expressions import BooleanExpression
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Transaction

log = logging.getLogger("fuelline.tables")


class Writer:
    """One try of one keyed append: data files are written as rows come, and one commit makes them visible.

    Use as a context: a try that does not commit removes the files it wrote. Only when nobody can tell whether it did
    commit do they stay, because the table may refer to them.
    """

    def __init__(self, tables: Tables, contract: Contract, key: str) -> None:
        self.tables, self.contract, self.key = tables, contract, key
        self.table = tables._ensure(contract)
        recorded = tables._recorded(contract, self.table, key)
        self.found = recorded and recorded[0]
        if recorded:
            tables._keep_mark(contract, key, *recorded)
        self.rows = 0
        self._files: list[DataFile] = []
        self._disposable = True
        self._scratch = tempfile.TemporaryDirectory(prefix="fuelline-")
        self._uniqueness = Uniqueness(contract, self._existing, Path(self._scratch.name))

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *_: object) -> None:
        if self._disposable:
            for file in self._files:
                self.table.io.delete(file.file_path)
        self._uniqueness.close()
        self._scratch.cleanup()

    def classify(self, rows: pa.Table) -> pa.Array:
        """Null for each new row, else why it is not one; see ``Uniqueness``."""
        return self._uniqueness.classify(rows)

    def add(self, rows: pa.Table, *, drop_known: bool = False) -> None:
        """Write rows (the contract's columns) to data files. With ``drop_known`` only those that are new."""
        from pyiceberg.io.pyarrow import _dataframe_to_data_files

        rows = rows.select(self.contract.arrow_schema.names).cast(self.contract.arrow_schema)
        if drop_known:
            verdicts = self.classify(rows)
            if conflicts := len(verdicts) - verdicts.null_count - (pc.sum(pc.equal(verdicts, DUPLICATE)).as_py() or 0):
                log.warning("%s: left out %d rows whose keys stand with other values", self.contract.table, conflicts)
            rows = rows.filter(verdicts.is_null())
        if rows.num_rows:
            self.rows += rows.num_rows
            self._files.extend(_dataframe_to_data_files(self.table.metadata, rows, self.table.io))

    def commit(
        self, summary: Mapping[str, str], *, watermark: tuple[str, datetime] | None = None
    ) -> TableVersion | None:
        """Commit what was added, with ``summary`` and watermark, on exactly the snapshot that was compared.

        Returns:
            The version under the key, ours or another writer's; None if the race was lost: begin again.

        Raises:
            PeerError: the catalogue failed, and the commit did not take effect.
        """
        from pyiceberg.exceptions import CommitFailedException, CommitStateUnknownException

        transaction = self._staged(summary, watermark)
        self._disposable = False
        failure: Exception | None = None
        try:
            transaction.commit_transaction()
        except Exception as error:  # whatever it was: the reply may be lost and the commit in effect
            failure = error
        self.table = self.tables.load(self.contract.table)
        recorded = self.tables._recorded(self.contract, self.table, self.key)
        # After any other failure the database may still be at it, and refer to the files in a moment.
        lost = failure is None or isinstance(failure, CommitFailedException)
        self._disposable = lost and not self._is_ours()
        if recorded:
            self.tables._keep_mark(self.contract, self.key, *recorded)
            return recorded[0]
        if failure is None or isinstance(failure, CommitFailedException | CommitStateUnknownException):
            return None
        raise PeerError(f"{self.contract.table}: the commit failed with {type(failure).__name__}") from failure

    def _staged(self, summary: Mapping[str, str], watermark: tuple[str, datetime] | None) -> "Transaction":
        transaction = self.table.transaction()
        if watermark and watermark[1] > (self._watermark(watermark[0]) or datetime.min.replace(tzinfo=UTC)):
            transaction.set_properties({WATERMARK + watermark[0]: watermark[1].isoformat()})
        with transaction.update_snapshot(snapshot_properties={**summary, KEY: self.key}).fast_append() as append:
            for file in self._files:
                append.append_data_file(file)
        return transaction

    def _is_ours(self) -> bool:
        """Whether our files are in the table: also true when only the reply of the commit was lost."""
        if not self._files:
            return True
        snapshots = [s for s in self.table.snapshots() if s.summary and s.summary.get(KEY) == self.key]
        paths = {file.file_path for file in self._files}
        for snapshot in snapshots:
            for manifest in snapshot.manifests(self.table.io):
                if manifest.added_snapshot_id == snapshot.snapshot_id:
                    return any(e.data_file.file_path in paths for e in manifest.fetch_manifest_entry(self.table.io))
        return False

    def _watermark(self, source: str) -> datetime | None:
        stated = self.table.properties.get(WATERMARK + source)
        return datetime.fromisoformat(stated) if stated else None

    def _existing(self, partitions: Sequence[date | str]) -> Iterator[pa.RecordBatch]:
        if self.table.current_snapshot() is None:
            return
        # Without a snapshot id the scan has the table's columns, not those that the snapshot had.
        scan = self.table.scan(row_filter=_in_partitions(self.contract, partitions))
        for batch in scan.to_arrow_batch_reader():
            yield narrow(pa.Table.from_batches([batch])).combine_chunks().to_batches()[0] if batch.num_rows else batch


def _in_partitions(contract: Contract, partitions: Sequence[date | str]) -> "BooleanExpression":
    """Rows of these partitions, as ranges and equalities (other predicates delete and scan less surely)."""
    from pyiceberg.expressions import And, GreaterThanOrEqual, In, LessThan, Or

    if not (column := contract.day_column):
        return In(contract.partitions[0][1], set(partitions))
    return functools.reduce(
        Or,
        (
            And(GreaterThanOrEqual(column, first.isoformat()), LessThan(column, last.isoformat()))
            for first, last in _ranges(sorted(day for day in partitions if isinstance(day, date)))
        ),
    )


def _ranges(days: list[date]) -> Iterable[tuple[datetime, datetime]]:
    """Runs of consecutive days as [start, end) instants."""
    start = previous = days[0]
    for day in [*days[1:], None]:
        if day is None or day - previous > timedelta(days=1):
            yield _midnight(start), _midnight(previous + timedelta(days=1))
            start = day or start
        previous = day or previous


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)

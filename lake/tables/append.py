"""One attempt at a keyed append: write data files as rows come, and make them visible in a single commit."""

import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from lake.contracts.base import Contract
from lake.store.objects import ObjectStore
from lake.tables.commit import CommitOutcome, commit_once
from lake.tables.commit_keys import KeyedCommit, find_commit, keep_marker
from lake.tables.filters import in_partitions
from lake.tables.properties import KEY, WATERMARK
from lake.tables.schema import ensure_table, narrow_strings
from lake.tables.uniqueness import DUPLICATE, Uniqueness

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Table

log = logging.getLogger("fuelline.tables")


def write_files(table: "Table", rows: pa.Table) -> Iterator["DataFile"]:
    """Write rows of the table's columns to data files, which no snapshot holds yet."""
    from pyiceberg.io.pyarrow import _dataframe_to_data_files

    if rows.num_rows:
        yield from _dataframe_to_data_files(table.metadata, rows, table.io)


def watermark_of(table: "Table", source: str) -> datetime | None:
    """The time of the newest row of a source (UTC)."""
    value = table.properties.get(WATERMARK + source)
    return datetime.fromisoformat(value) if value else None


class Writer:
    """One attempt at a keyed append to a contract's table, which is created or evolved to fit.

    Use it as a context: an attempt that does not commit removes the files that it wrote. They stay only when it is
    unknown whether the commit took effect, because the table may refer to them. ``found`` is the commit under the key,
    this attempt's or an earlier one's, and ``rows`` the number of rows added.
    """

    def __init__(self, catalog: "Catalog", store: ObjectStore, contract: Contract, key: str) -> None:
        self.contract, self.key = contract, key
        self.rows = 0
        self._catalog, self._store = catalog, store
        self.table = ensure_table(catalog, contract)
        self.found: KeyedCommit | None = None
        self._find()
        self._files: list[DataFile] = []
        self._disposable = True
        self._scratch = tempfile.TemporaryDirectory(prefix="fuelline-")
        self._uniqueness = Uniqueness(contract, self._stored_rows, Path(self._scratch.name))

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *_: object) -> None:
        if self._disposable:
            for file in self._files:
                self.table.io.delete(file.file_path)
        self._uniqueness.close()
        self._scratch.cleanup()

    def classify(self, rows: pa.Table) -> pa.Array:
        """Null for each new row, else why it is not new; see ``Uniqueness``."""
        return self._uniqueness.classify(rows)

    def add(self, rows: pa.Table, *, drop_known: bool = False) -> None:
        """Write rows (the contract's columns) to data files. With ``drop_known`` only those that are new."""
        rows = rows.select(self.contract.arrow_schema.names).cast(self.contract.arrow_schema)
        if drop_known:
            verdicts = self.classify(rows)
            conflicts = len(verdicts) - verdicts.null_count - (pc.sum(pc.equal(verdicts, DUPLICATE)).as_py() or 0)
            if conflicts:
                log.warning("%s: left out %d rows whose key has other values", self.contract.table, conflicts)
            rows = rows.filter(verdicts.is_null())
        self.rows += rows.num_rows
        self._files.extend(write_files(self.table, rows))

    def commit(
        self, summary: Mapping[str, str], *, watermark: tuple[str, datetime] | None = None
    ) -> KeyedCommit | None:
        """Commit the added rows on exactly the snapshot that they were compared with.

        Returns the commit under the key, this or another writer's; None if another writer was first: begin again.
        ``watermark`` is a source and the time of its newest row (UTC), which only moves forward. Raises ``PeerError``
        where the catalogue failed and the commit is not in effect so far.
        """
        transaction = self.table.transaction()
        if watermark and watermark[1] > (watermark_of(self.table, watermark[0]) or datetime.min.replace(tzinfo=UTC)):
            transaction.set_properties({WATERMARK + watermark[0]: watermark[1].isoformat()})
        with transaction.update_snapshot(snapshot_properties={**summary, KEY: self.key}).fast_append() as append:
            for file in self._files:
                append.append_data_file(file)
        self._disposable = False
        outcome = commit_once(transaction, self.contract.table, self._reload)
        committed = outcome is CommitOutcome.DONE and (self.found or self._reload())
        self._disposable = outcome is CommitOutcome.CONFLICT or bool(committed and not self._is_own_commit())
        return self.found

    def _reload(self) -> bool:
        """Load the table again; whether a commit under the key is in it."""
        self.table = self._catalog.load_table(self.contract.table)
        return self._find()

    def _find(self) -> bool:
        self.found = find_commit(self._store, self.table, self.key)
        if self.found:
            keep_marker(self._store, self.found)
        return self.found is not None

    def _is_own_commit(self) -> bool:
        """Whether the snapshot under the key holds the files of this attempt."""
        if not self._files:
            return True
        paths, io = {file.file_path for file in self._files}, self.table.io
        for snapshot in self.table.snapshots():
            if snapshot.summary and snapshot.summary.get(KEY) == self.key:
                added = (m for m in snapshot.manifests(io) if m.added_snapshot_id == snapshot.snapshot_id)
                return any(e.data_file.file_path in paths for m in added for e in m.fetch_manifest_entry(io))
        return False

    def _stored_rows(self, partitions: Sequence[date | str]) -> Iterator[pa.RecordBatch]:
        if self.table.current_snapshot() is None:
            return
        # Without a snapshot id the scan has the table's columns, not those that the snapshot had.
        scan = self.table.scan(row_filter=in_partitions(self.contract, partitions))
        for batch in scan.to_arrow_batch_reader():
            rows = narrow_strings(pa.Table.from_batches([batch])).combine_chunks()
            yield rows.to_batches()[0] if batch.num_rows else batch

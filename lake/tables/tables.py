"""Iceberg tables, through pyiceberg: every append carries the key of what it was made from and happens once.

The library's own commit retry is off, because it would re-apply an append on top of the winner without looking for
the key again. Each try here loads the table, looks for the key, removes rows that are there already, and commits on
exactly that snapshot; on conflict it begins again. A marker per key outlives the snapshot that carries it.
"""

import contextlib
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import pyarrow as pa

from errors import CommitContended, ObjectMissing, UnknownName
from lake.contracts.base import Contract
from lake.store.objects import ObjectStore
from lake.tables.catalog import open_catalog
from lake.tables.schema import CONTRACT, evolve
from lake.tables.versions import TableVersion
from settings import Settings

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog
    from pyiceberg.expressions import BooleanExpression
    from pyiceberg.table import DataScan, Table
    from pyiceberg.table.snapshots import Snapshot

    from lake.tables.append import Writer

KEY = "fuelline.key"
MAINTENANCE = "fuelline.maintenance"
"""In the summary of every snapshot that rewrites what was there: it brings nothing new."""
INPUTS = "fuelline.inputs"
WATERMARK = "fuelline.watermark."
TRIES = 40
TABLE_PROPERTIES = {
    "commit.retry.num-retries": "0",
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "50",
    "write.parquet.compression-codec": "zstd",
}


@dataclass(frozen=True)
class Tables:
    """The tables of one lake."""

    settings: Settings
    store: ObjectStore

    def append(
        self,
        contract: Contract,
        rows: pa.Table | pa.RecordBatchReader,
        *,
        key: str,
        inputs: Sequence[TableVersion] = (),
        properties: Mapping[str, str] = {},
    ) -> TableVersion:
        """Append the rows that are not there yet, once a key; return the version that holds them.

        Args:
            contract: says the table and its form; the table is made or evolved to fit.
            rows: the contract's columns; rows whose ``contract.key`` is taken are left out.
            key: what the rows were made from. A key that is there already returns its version and writes nothing.
            inputs: the versions that the rows were computed from, for lineage.
            properties: further entries for the snapshot's summary.

        Raises:
            ContractError: the contract breaks with the table.
            CommitContended: the commit lost its race 40 times.
        """
        data = rows if isinstance(rows, pa.Table) else rows.read_all()
        summary = {**properties, INPUTS: json.dumps([str(version) for version in inputs])}
        for _ in range(TRIES):
            with self.writer(contract, key) as writer:
                if writer.found:
                    return writer.found
                writer.add(data, drop_known=True)
                if version := writer.commit(summary):
                    return version
        raise CommitContended(f"{contract.table}: {TRIES} commits of {key!r} lost their race")

    def writer(self, contract: Contract, key: str) -> "Writer":
        """One try of a keyed append, for callers that stream and classify rows themselves."""
        from lake.tables.append import Writer

        return Writer(self, contract, key)

    def summary(self, contract: Contract, key: str) -> dict[str, str]:
        """What the commit under this key said of itself; empty if there is none."""
        table = self._load(contract)
        found = table and self._recorded(contract, table, key)
        return found[1] if found else {}

    def find(self, contract: Contract, key: str) -> TableVersion | None:
        """The version that was committed under this key, if it was."""
        table = self._load(contract)
        return self._found(contract, table, key) if table else None

    def current(self, contract: Contract) -> TableVersion | None:
        """The newest version; None where the table has no rows yet."""
        table = self._load(contract)
        snapshot = table and table.current_snapshot()
        return version_of(contract.table, snapshot) if snapshot else None

    def read(self, version: TableVersion, *, columns: Sequence[str] | None = None, where: str = "") -> pa.Table:
        """Rows of a version; ``where`` is an Iceberg filter such as ``agent_name == 'bruno'``.

        Raises:
            UnknownName: the table or the snapshot is not there (any more).
        """
        return narrow(self.scan(version, columns=columns, where=where).to_arrow())

    def batches(
        self, version: TableVersion, *, columns: Sequence[str] | None = None, where: str = ""
    ) -> pa.RecordBatchReader:
        """Like ``read``, as a stream of batches."""
        return self.scan(version, columns=columns, where=where).to_arrow_batch_reader()

    def scan(
        self, version: TableVersion, *, columns: Sequence[str] | None = None, where: "str | BooleanExpression" = ""
    ) -> "DataScan":
        """The Iceberg scan behind ``read``: projection and filter are pushed down to the files."""
        table = self.load(version.table)
        if table.snapshot_by_id(version.snapshot_id) is None:
            raise UnknownName("snapshot", str(version), (f"{version.table}@{s.snapshot_id}" for s in table.snapshots()))
        chosen = ("*",) if columns is None else tuple(columns)
        return table.scan(row_filter=where or "True", selected_fields=chosen, snapshot_id=version.snapshot_id)

    def snapshots(self, contract: Contract) -> "list[Snapshot]":
        """Snapshots in order of commit; their summaries hold the key and the inputs."""
        table = self._load(contract)
        return list(table.snapshots()) if table else []

    def tag(self, version: TableVersion, name: str, *, move: bool = False) -> None:
        """Protect a snapshot from expiry under a name; no change if it has that name already.

        Raises:
            ValueError: another snapshot has the name, and it is not to ``move``.
        """
        from pyiceberg.exceptions import CommitFailedException

        for _ in range(TRIES):
            table = self.load(version.table)
            if known := table.refs().get(name):
                if known.snapshot_id == version.snapshot_id:
                    return
                if not move:
                    raise ValueError(f"{version.table}: tag {name!r} stands on snapshot {known.snapshot_id}")
            try:
                table.manage_snapshots().create_tag(version.snapshot_id, name).commit()
                return
            except CommitFailedException:
                continue
        raise CommitContended(f"{version.table}: {TRIES} tries to tag {version.snapshot_id} lost their race")

    def watermark(self, contract: Contract, source: str) -> datetime | None:
        """How far a source has been read into the table: it moves in the commit that brings the rows."""
        table = self._load(contract)
        stated = table and table.properties.get(WATERMARK + source)
        return datetime.fromisoformat(stated) if stated else None

    def load(self, name: str) -> "Table":
        """The Iceberg table itself. Raises ``UnknownName``."""
        from pyiceberg.exceptions import NoSuchTableError

        try:
            return self.catalog.load_table(name)
        except NoSuchTableError:
            known = [".".join(t) for n in self.catalog.list_namespaces() for t in self.catalog.list_tables(n)]
            raise UnknownName("table", name, known) from None

    @property
    def catalog(self) -> "Catalog":
        """The Iceberg catalogue of this lake."""
        return open_catalog(self.settings)

    def _load(self, contract: Contract) -> "Table | None":
        try:
            return self.load(contract.table)
        except UnknownName:
            return None

    def _ensure(self, contract: Contract) -> "Table":
        from pyiceberg.exceptions import TableAlreadyExistsError
        from sqlalchemy.exc import IntegrityError

        if table := self._load(contract):
            return evolve(contract, table)
        with contextlib.suppress(IntegrityError):  # another process makes the same namespace at the same moment
            self.catalog.create_namespace_if_not_exists(contract.table.split(".")[0])
        try:
            return self.catalog.create_table(
                contract.table,
                schema=contract.iceberg_schema(),
                partition_spec=contract.partition_spec(),
                properties={**TABLE_PROPERTIES, CONTRACT: contract.version},
            )
        except TableAlreadyExistsError:
            return self.load(contract.table)

    def _found(self, contract: Contract, table: "Table", key: str) -> TableVersion | None:
        found = self._recorded(contract, table, key)
        return found[0] if found else None

    def _recorded(self, contract: Contract, table: "Table", key: str) -> tuple[TableVersion, dict[str, str]] | None:
        """The commit under a key and its summary, from the table's snapshots or, when they have expired, the marker."""
        for snapshot in table.snapshots():
            if snapshot.summary and snapshot.summary.additional_properties.get(KEY) == key:
                return version_of(contract.table, snapshot), dict(snapshot.summary.additional_properties)
        try:
            kept = json.loads(self.store.read(_marker(contract, key)))
        except ObjectMissing:
            return None
        return TableVersion(table=contract.table, snapshot_id=kept["snapshot_id"], rows=kept["rows"]), kept["summary"]

    def _keep_mark(self, contract: Contract, key: str, version: TableVersion, summary: Mapping[str, str]) -> None:
        """Leave the key where a late retry still finds it when its snapshot has expired."""
        if self.store.exists(_marker(contract, key)):
            return
        kept = {"snapshot_id": version.snapshot_id, "rows": version.rows, "summary": dict(summary)}
        self.store.write(_marker(contract, key), json.dumps(kept).encode())


def _marker(contract: Contract, key: str) -> str:
    return f"markers/{contract.table}/{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"


def version_of(table: str, snapshot: "Snapshot") -> TableVersion:
    """The name of a snapshot that was read off a table."""
    total = snapshot.summary["total-records"] if snapshot.summary else None
    return TableVersion(table=table, snapshot_id=snapshot.snapshot_id, rows=int(total or 0))


def narrow(table: pa.Table) -> pa.Table:
    """Iceberg reads strings as large strings; contracts speak of plain ones."""
    return table.cast(
        pa.schema(
            [
                pa.field(f.name, pa.string() if pa.types.is_large_string(f.type) else f.type, f.nullable)
                for f in table.schema
            ]
        )
    )

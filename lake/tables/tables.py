"""The Iceberg tables of a lake. Every append carries a key that says what its rows were made from, and happens once."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import pyarrow as pa

from errors import UnknownName
from lake.contracts.base import Contract
from lake.store.objects import ObjectStore
from lake.tables.append import Writer, watermark_of
from lake.tables.catalog import open_catalog
from lake.tables.commit import retry_commit
from lake.tables.commit_keys import find_commit
from lake.tables.properties import INPUTS
from lake.tables.schema import ensure_table, narrow_strings
from lake.tables.versions import TableVersion, version_of
from settings import Settings

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog
    from pyiceberg.expressions import BooleanExpression
    from pyiceberg.table import DataScan, Table
    from pyiceberg.table.snapshots import Snapshot


@dataclass(frozen=True)
class Tables:
    """The tables of one lake."""

    settings: Settings
    store: ObjectStore

    def append(
        self,
        contract: Contract,
        rows: pa.Table,
        *,
        key: str,
        inputs: Sequence[TableVersion] = (),
        properties: Mapping[str, str] = {},
    ) -> TableVersion:
        """Append the rows that are not in the table yet, once per key; return the version that holds them.

        Args:
            contract: names the table and its columns; the table is created or evolved to fit.
            rows: the contract's columns; rows whose ``contract.key`` is in the table are left out.
            key: what the rows were made from. If it was committed before, its version is returned and nothing written.
            inputs: the versions that the rows were computed from, for lineage.
            properties: further entries for the snapshot's summary.
        """
        summary = {**properties, INPUTS: json.dumps([str(version) for version in inputs])}

        def attempt() -> TableVersion | None:
            with self.writer(contract, key) as writer:
                if not writer.found:
                    writer.add(rows, drop_known=True)
                    writer.commit(summary)
                return writer.found.version if writer.found else None

        return retry_commit(attempt, contract.table, f"an append of {key!r}")

    def writer(self, contract: Contract, key: str) -> Writer:
        """One attempt at a keyed append, for callers that stream and classify rows themselves."""
        return Writer(self.catalog, self.store, contract, key)

    def ensure(self, contract: Contract) -> "Table":
        """The contract's table, created or evolved to fit. Raises ``ContractError``."""
        return ensure_table(self.catalog, contract)

    def find(self, contract: Contract, key: str) -> TableVersion | None:
        """The version that was committed under this key, if it was."""
        table = self._find(contract.table)
        commit = table and find_commit(self.store, table, key)
        return commit.version if commit else None

    def current(self, contract: Contract) -> TableVersion | None:
        """The newest version; None where the table has no rows yet."""
        table = self._find(contract.table)
        snapshot = table and table.current_snapshot()
        return version_of(contract.table, snapshot) if snapshot else None

    def newest_time(self, contract: Contract, version: TableVersion | None = None) -> datetime | None:
        """The newest time in the day column of a version, by default the current one; None without rows.

        It comes from the bounds that Iceberg keeps for each data file: no data are read.
        """
        version = version or self.current(contract)
        if version is None or not version.rows:
            return None
        files = self.load(contract.table).inspect.files(version.snapshot_id)
        bounds = [row[contract.day_column]["upper_bound"] for row in files["readable_metrics"].to_pylist()]
        return max((bound for bound in bounds if bound is not None), default=None)

    def read(self, version: TableVersion, *, columns: Sequence[str] | None = None, where: str = "") -> pa.Table:
        """Rows of a version; ``where`` is an Iceberg filter such as ``agent_name == 'bruno'``. Raises ``UnknownName``
        where the table or the snapshot does not exist, or no longer.
        """
        return narrow_strings(self.scan(version, columns=columns, where=where).to_arrow())

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
        """Snapshots in order of commit; their summaries hold key and inputs."""
        table = self._find(contract.table)
        return list(table.snapshots()) if table else []

    def tag(self, version: TableVersion, name: str, *, move: bool = False) -> None:
        """Protect a snapshot from expiry under a name; no change if it has that name already. Raises ``ValueError``
        where another snapshot has the name and ``move`` is false.
        """

        def attempt() -> bool:
            table = self.load(version.table)
            if known := table.refs().get(name):
                if known.snapshot_id == version.snapshot_id:
                    return True
                if not move:
                    raise ValueError(f"{version.table}: tag {name!r} names snapshot {known.snapshot_id}")
            table.manage_snapshots().create_tag(version.snapshot_id, name).commit()
            return True

        retry_commit(attempt, version.table, f"tagging snapshot {version.snapshot_id}")

    def watermark(self, contract: Contract, source: str) -> datetime | None:
        """The time of the newest row of a source (UTC). It moves in the commit that adds the row."""
        table = self._find(contract.table)
        return watermark_of(table, source) if table else None

    def load(self, name: str) -> "Table":
        """The Iceberg table itself. Raises ``UnknownName``."""
        if table := self._find(name):
            return table
        known = [".".join(t) for n in self.catalog.list_namespaces() for t in self.catalog.list_tables(n)]
        raise UnknownName("table", name, known)

    @property
    def catalog(self) -> "Catalog":
        return open_catalog(self.settings)

    def _find(self, name: str) -> "Table | None":
        from pyiceberg.exceptions import NoSuchTableError

        try:
            return self.catalog.load_table(name)
        except NoSuchTableError:
            return None

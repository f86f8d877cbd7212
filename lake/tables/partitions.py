"""Partitions that are rebuilt as a whole: which files they hold, and what their rows were built from.

Every row of such a partition has the column ``built_from``, the digest of what it was made from: so this state changes
in the same commit as the rows. ``lake.tables.replace`` writes such partitions.
"""

from collections import defaultdict
from collections.abc import Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING, TypeAlias

import pyarrow as pa

from lake.contracts.base import Contract
from lake.tables.filters import in_partitions
from lake.tables.tables import Tables
from lake.tables.versions import TableVersion

if TYPE_CHECKING:
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Table

Partition: TypeAlias = date | str
"""A day, or a value of the identity column that a table is partitioned by."""
BUILT_FROM = "built_from"
"""The column that holds the digest of what a row's partition was built from."""
EPOCH = date(1970, 1, 1)


def files_by_partition(tables: Tables, contract: Contract, version: TableVersion) -> dict[Partition, tuple[str, ...]]:
    """The data and delete files of each partition of a version, from its manifests alone.

    Iceberg's files are immutable: equal files mean equal rows.
    """
    found: dict[Partition, set[str]] = defaultdict(set)
    for task in tables.scan(version).plan_files():
        paths = {file.file_path for file in (task.file, *task.delete_files)}
        found[partition_of(contract, task.file)].update(paths)
    return {partition: tuple(sorted(paths)) for partition, paths in found.items()}


def built_from(tables: Tables, contract: Contract) -> dict[Partition, set[str]]:
    """What the rows of each partition in the table were built from."""
    return origins(contract, tables.load(contract.table)) if tables.current(contract) else {}


def origins(contract: Contract, table: "Table", within: Sequence[Partition] = ()) -> dict[Partition, set[str]]:
    """The same for a loaded table, at least for the partitions in ``within``; for all where it is empty."""
    scan = table.scan(
        row_filter=in_partitions(contract, within) if within else "True",
        selected_fields=(_column(contract), BUILT_FROM),
    )
    return origins_by_partition(contract, scan.to_arrow())


def origins_by_partition(contract: Contract, rows: pa.Table) -> dict[Partition, set[str]]:
    """The same for rows in memory."""
    pairs = pa.table({"partition": partition_values(contract, rows), "origin": rows[BUILT_FROM]})
    found: dict[Partition, set[str]] = defaultdict(set)
    for pair in pairs.group_by(["partition", "origin"]).aggregate([]).to_pylist():
        found[pair["partition"]].add(pair["origin"])
    return dict(found)


def data_files(contract: Contract, table: "Table", partitions: Sequence[Partition]) -> list["DataFile"]:
    planned = table.scan(row_filter=in_partitions(contract, partitions)).plan_files()
    return [task.file for task in planned if partition_of(contract, task.file) in partitions]


def partition_of(contract: Contract, file: "DataFile") -> Partition:
    """The first of a file's partition values; Iceberg counts days from 1970."""
    value = file.partition[0]
    return EPOCH + timedelta(days=value) if contract.day_column and isinstance(value, int) else value


def partition_values(contract: Contract, rows: pa.Table) -> pa.ChunkedArray:
    column = rows[_column(contract)]
    return column.cast(pa.date32() if contract.day_column else pa.string())


def _column(contract: Contract) -> str:
    return contract.partitions[0][1]

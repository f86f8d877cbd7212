"""Tables follow their contracts: a missing table is created, new optional columns are added, other changes refused.

Iceberg's names and field ids stay. A breaking change moves the contract's major version, and that names another table.
"""

import contextlib
from typing import TYPE_CHECKING

import pyarrow as pa

from errors import ContractError
from lake.contracts.base import Contract
from lake.tables.properties import CONTRACT, NEW_TABLE

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog
    from pyiceberg.partitioning import PartitionSpec
    from pyiceberg.schema import Schema
    from pyiceberg.table import Table


def ensure_table(catalog: "Catalog", contract: Contract) -> "Table":
    """Load the contract's table; create it, or add the contract's new optional columns, where needed.

    Raises ``ContractError`` where the contract drops, renames, retypes or requires a column, or changes the partitions;
    the table stays as it is.
    """
    from pyiceberg.exceptions import NoSuchTableError

    try:
        table = catalog.load_table(contract.table)
    except NoSuchTableError:
        return _create(catalog, contract)
    return _evolve(contract, table)


def _breaking_changes(contract: Contract, table: "Table") -> list[str]:
    """What differs and may not differ within a major version, one clause each; empty if the contract fits."""
    declared = {field.name: field for field in iceberg_schema(contract).fields}
    stored = {field.name: field for field in table.schema().fields}
    changes = [f"column {name!r} is gone" for name in stored if name not in declared]
    for name, field in declared.items():
        if name not in stored:
            if field.required:
                changes.append(f"new column {name!r} is required")
        elif field.field_type != stored[name].field_type:
            changes.append(f"column {name!r} is {stored[name].field_type}, not {field.field_type}")
        elif field.required != stored[name].required:
            changes.append(f"column {name!r} becomes {'required' if field.required else 'optional'}")
    partitions = [(f.name, str(f.transform)) for f in table.spec().fields]
    wanted = [(f.name, str(f.transform)) for f in partition_spec(contract).fields]
    if partitions != wanted:
        changes.append(f"partitions are {partitions}, not {wanted}")
    return changes


def iceberg_schema(contract: Contract) -> "Schema":
    """The contract's columns as an Iceberg schema, with field ids in the order of declaration."""
    from pyiceberg.schema import Schema
    from pyiceberg.types import BooleanType, DoubleType, IcebergType, LongType, NestedField, StringType, TimestamptzType

    types: dict[pa.DataType, IcebergType] = {
        pa.string(): StringType(),
        pa.int64(): LongType(),
        pa.float64(): DoubleType(),
        pa.bool_(): BooleanType(),
        pa.timestamp("us", tz="UTC"): TimestamptzType(),
    }
    fields = (
        NestedField(number, column.name, types[column.type], required=column.required, doc=column.doc)
        for number, column in enumerate(contract.columns, start=1)
    )
    return Schema(*fields)


def partition_spec(contract: Contract) -> "PartitionSpec":
    """The contract's partitions over ``iceberg_schema``."""
    from pyiceberg.partitioning import PartitionField, PartitionSpec
    from pyiceberg.transforms import parse_transform

    schema = iceberg_schema(contract)
    fields = (
        PartitionField(
            source_id=schema.find_field(column).field_id,
            field_id=1000 + number,
            transform=parse_transform(transform),
            name=column if transform == "identity" else f"{column}_{transform}",
        )
        for number, (transform, column) in enumerate(contract.partitions)
    )
    return PartitionSpec(*fields)


def narrow_strings(rows: pa.Table) -> pa.Table:
    """Rows as read from Iceberg, with plain strings for its large ones, as contracts declare them."""
    fields = [field.with_type(pa.string()) if pa.types.is_large_string(field.type) else field for field in rows.schema]
    return rows.cast(pa.schema(fields))


def _create(catalog: "Catalog", contract: Contract) -> "Table":
    from pyiceberg.exceptions import TableAlreadyExistsError
    from sqlalchemy.exc import IntegrityError

    with contextlib.suppress(IntegrityError):  # another process creates the same namespace at the same moment
        catalog.create_namespace_if_not_exists(contract.table.split(".")[0])
    try:
        return catalog.create_table(
            contract.table,
            schema=iceberg_schema(contract),
            partition_spec=partition_spec(contract),
            properties={**NEW_TABLE, CONTRACT: contract.version},
        )
    except TableAlreadyExistsError:
        return catalog.load_table(contract.table)


def _evolve(contract: Contract, table: "Table") -> "Table":
    from pyiceberg.exceptions import CommitFailedException

    if changes := _breaking_changes(contract, table):
        remedy = "move the contract's major version: a new table is then filled from the raw zone"
        raise ContractError(
            f"{contract.table} {contract.version} breaks with its table: {'; '.join(changes)}. {remedy}"
        )
    if {column.name for column in contract.columns} <= set(table.schema().column_names):
        return table
    try:
        with table.transaction() as transaction:
            with transaction.update_schema() as update:
                update.union_by_name(iceberg_schema(contract))
            transaction.set_properties({CONTRACT: contract.version})
    except CommitFailedException:
        return _evolve(contract, table.refresh())
    return table.refresh()

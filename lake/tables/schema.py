"""How a table follows its contract: optional columns are added without a rewrite, anything else is refused.

Iceberg's own names and ids stay; a breaking change moves the contract's major version, and with it the table.
"""

from typing import TYPE_CHECKING

from errors import ContractError
from lake.contracts.base import Contract

if TYPE_CHECKING:
    from pyiceberg.table import Table

CONTRACT = "fuelline.contract"
"""Table property: the contract's version."""
REMEDY = "move the contract's major version: a new table is filled again from the raw zone"


def evolve(contract: Contract, table: "Table") -> "Table":
    """Add the contract's new optional columns to its table; a table that fits is returned as it is.

    Raises:
        ContractError: the contract renames, drops, retypes or requires what the table does not; nothing was changed.
    """
    from pyiceberg.exceptions import CommitFailedException

    if faults := breaking_changes(contract, table):
        raise ContractError(f"{contract.name} {contract.version} breaks with its table: {'; '.join(faults)}. {REMEDY}")
    if {column.name for column in contract.columns} <= set(table.schema().column_names):
        return table
    try:
        with table.transaction() as transaction:
            with transaction.update_schema() as update:
                update.union_by_name(contract.iceberg_schema())
            transaction.set_properties({CONTRACT: contract.version})
    except CommitFailedException:
        return evolve(contract, table.refresh())
    return table.refresh()


def breaking_changes(contract: Contract, table: "Table") -> list[str]:
    """What a minor version may not do, one clause each; empty if the contract fits the table."""
    declared = {field.name: field for field in contract.iceberg_schema().fields}
    there = {field.name: field for field in table.schema().fields}
    faults = [f"column {name!r} is gone" for name in there if name not in declared]
    for name, field in declared.items():
        if name not in there:
            if field.required:
                faults.append(f"new column {name!r} is required")
        elif field.field_type != there[name].field_type:
            faults.append(f"column {name!r} is {there[name].field_type}, not {field.field_type}")
        elif field.required != there[name].required:
            faults.append(f"column {name!r} becomes {'required' if field.required else 'optional'}")
    stands = [(f.name, str(f.transform)) for f in table.spec().fields]
    wanted = [(f.name, str(f.transform)) for f in contract.partition_spec().fields]
    if stands != wanted:
        faults.append(f"partitions are {stands}, not {wanted}")
    return faults

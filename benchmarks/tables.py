"""An Iceberg table with the catalogue and the defaults of pyiceberg and the schema of the contract."""

from pathlib import Path
from typing import TYPE_CHECKING

from lake.contracts.agent_interactions import AGENT_INTERACTIONS
from lake.tables.schema import iceberg_schema, partition_spec

if TYPE_CHECKING:
    from pyiceberg.table import Table


def fresh_table(folder: Path) -> "Table":
    """An empty table of interactions with the partitions of the contract."""
    from pyiceberg.catalog.sql import SqlCatalog

    catalog = SqlCatalog("bench", uri=f"sqlite:///{folder / 'catalog.db'}", warehouse=(folder / "warehouse").as_uri())
    catalog.create_namespace("processed")
    return catalog.create_table(
        AGENT_INTERACTIONS.name,
        schema=iceberg_schema(AGENT_INTERACTIONS),
        partition_spec=partition_spec(AGENT_INTERACTIONS),
    )

"""Versions of tables: what tasks pass to each other instead of data."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyiceberg.table.snapshots import Snapshot


@dataclass(frozen=True, kw_only=True, slots=True)
class TableVersion:
    """One snapshot of one Iceberg table."""

    table: str
    """Namespace and name, for example ``processed.agent_interactions``."""
    snapshot_id: int
    rows: int
    """Rows in the whole table as of this snapshot."""

    def __post_init__(self) -> None:
        if self.table.count(".") != 1:
            raise ValueError(f"a table is named namespace.name, not {self.table!r}")

    def __str__(self) -> str:
        return f"{self.table}@{self.snapshot_id}"


def version_of(table: str, snapshot: "Snapshot") -> TableVersion:
    """The version of a table that a snapshot is."""
    total = snapshot.summary["total-records"] if snapshot.summary else None
    return TableVersion(table=table, snapshot_id=snapshot.snapshot_id, rows=int(total or 0))

"""What flows along the edges of a workflow: small frozen names of something immutable, never the data itself."""

from dataclasses import dataclass


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

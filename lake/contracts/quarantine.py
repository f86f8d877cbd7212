"""Rows that no table would take, each with its reason and the place where its bytes stand unchanged."""

from lake.contracts.base import Classification, Contract, Field, Model, OptionalBool, Timestamp


class Quarantine(Model):
    """One row a rejected line of a source object."""

    source_object: str = Field(doc="Raw object that holds the line, byte for byte")
    line: int = Field(doc="Line (or row) number in it, from 1", ge=1)
    reason: str = Field(doc="Why it was rejected, one of the names in docs/contracts.md")
    column: str = Field(doc="Column at fault, if it is one", nullable=True)
    raw: str = Field(doc="The line's first characters", pii=True, nullable=True)
    landed_at: Timestamp = Field(doc="When the object landed")
    timestamp: Timestamp = Field(doc="The row's own time, where it has a readable one", nullable=True)
    agent_name: str = Field(doc="The row's agent, where it is a known one", nullable=True)
    error: OptionalBool = Field(doc="The row's error flag, null where unreadable", nullable=True)
    digest: str = Field(doc="What the line is known by when it is read again, from its bytes", nullable=True)


def quarantine_of(contract: Contract) -> Contract:
    """The quarantine of a data set: kept as long as the data set, restricted, partitioned by day of landing."""
    return Contract(
        name=f"quarantine.{contract.name.split('.')[1]}",
        version="1.1",
        model=Quarantine,
        owner=contract.owner,
        classification=Classification.RESTRICTED,
        retention_days=contract.retention_days,
        partition=("day(landed_at)",),
        key=("source_object", "line"),
        freshness_s=contract.freshness_s,
    )

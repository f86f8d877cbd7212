"""Log lines: the contract of ``processed.logs``."""

from lake.contracts.base import Classification, Contract, Field, Model, Timestamp
from lake.contracts.metrics import LABELS_CHARACTERS, NAME_CHARACTERS

LINE_CHARACTERS = 1_000_000


class Logs(Model):
    """One row per line of a stream; the same line at the same nanosecond in the same stream is one row."""

    entry_id: str = Field(doc="Digest of cluster, stream, nanosecond and line", max_length=64)
    timestamp: Timestamp = Field(doc="When it was written, by the writer's clock, to the microsecond")
    nanoseconds: int = Field(doc="The same, exact, since 1970", unit="ns", ge=0)
    cluster: str = Field(doc="The cluster of the Loki server", max_length=NAME_CHARACTERS)
    query: str = Field(doc="The configured query that found it first", max_length=NAME_CHARACTERS)
    stream: str = Field(doc="The stream's labels, as JSON in order of their names", max_length=LABELS_CHARACTERS)
    message: str = Field(doc="The line", pii=True, max_length=LINE_CHARACTERS)


LOGS = Contract(
    name="processed.logs",
    version="1.0",
    model=Logs,
    owner="platform",
    classification=Classification.CONFIDENTIAL,
    retention_days=30,
    partition=("day(timestamp)", "cluster"),
    key=("entry_id",),
    freshness_s=900,
    source="logs",
    raw_retention_days=30,
)

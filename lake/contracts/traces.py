"""Spans of traces: the contract of ``processed.traces``."""

from lake.contracts.base import Classification, Contract, Field, Model, Timestamp
from lake.contracts.metrics import NAME_CHARACTERS


class Traces(Model):
    """One row per span of a trace."""

    trace_id: str = Field(doc="The trace, hexadecimal", max_length=32)
    span_id: str = Field(doc="The span, hexadecimal", max_length=16)
    parent_id: str = Field(doc="The span that it is part of; null for the root", max_length=16, nullable=True)
    timestamp: Timestamp = Field(doc="When it started, to the microsecond")
    duration_ns: int = Field(doc="From start to end", unit="ns", ge=0)
    cluster: str = Field(doc="The cluster of the Tempo server", max_length=NAME_CHARACTERS)
    service: str = Field(doc="service.name of the resource", max_length=NAME_CHARACTERS, nullable=True)
    name: str = Field(doc="The operation", max_length=4_000)
    kind: str = Field(doc="SPAN_KIND_SERVER, SPAN_KIND_CLIENT, ...", max_length=NAME_CHARACTERS, nullable=True)
    status: str = Field(doc="STATUS_CODE_OK, STATUS_CODE_ERROR; null where unset", max_length=64, nullable=True)
    attributes: str = Field(
        doc="The span's attributes, as JSON in order of their names", pii=True, max_length=1_000_000
    )


TRACES = Contract(
    name="processed.traces",
    version="1.0",
    model=Traces,
    owner="platform",
    classification=Classification.CONFIDENTIAL,
    retention_days=7,
    partition=("day(timestamp)", "cluster"),
    key=("trace_id", "span_id"),
    freshness_s=900,
    source="traces",
    raw_retention_days=7,
)

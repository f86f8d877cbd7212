"""Samples of Prometheus: the contract of ``processed.metrics``."""

from lake.contracts.base import Classification, Contract, Field, Model, Timestamp

LABELS_CHARACTERS = 16_000
NAME_CHARACTERS = 256


class Metrics(Model):
    """One row per series and step: a sample or a histogram. A series without a value at a step has no row there."""

    series: str = Field(doc="Digest of cluster, metric and labels", max_length=64)
    timestamp: Timestamp = Field(doc="The step, by the server's clock")
    cluster: str = Field(doc="The cluster of the Prometheus server", max_length=NAME_CHARACTERS)
    metric: str = Field(doc="The metric's name; the query's where the result has none", max_length=NAME_CHARACTERS)
    labels: str = Field(doc="The other labels, as JSON in order of their names", max_length=LABELS_CHARACTERS)
    value: float = Field(doc="The sample as it is; null where it is not finite", nullable=True)
    not_finite: str = Field(doc="NaN, +Inf or -Inf where the sample is that", max_length=4, nullable=True)
    count: float = Field(doc="Of a native histogram: observations", nullable=True)
    sum: float = Field(doc="Of a native histogram: their sum; null where not finite", nullable=True)
    buckets: str = Field(
        doc="Of a native histogram: [bounds rule, low, high, observations] each, as JSON",
        max_length=1_000_000,
        nullable=True,
    )


METRICS = Contract(
    name="processed.metrics",
    version="1.0",
    model=Metrics,
    owner="platform",
    classification=Classification.INTERNAL,
    retention_days=30,
    partition=("day(timestamp)", "cluster"),
    key=("series", "timestamp"),
    freshness_s=900,
    source="metrics",
    raw_retention_days=30,
)

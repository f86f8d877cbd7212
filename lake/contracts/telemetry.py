"""What clusters report: metrics of Prometheus, logs of Loki, traces of Tempo, events of Kubernetes."""

from functools import partial

from lake.contracts.base import Classification, Contract, Field, Model, Name, Timestamp

LABELS_CHARACTERS = 16_000

_contract = partial(Contract, version="1.0", owner="platform", partition=("day(timestamp)", "cluster"), freshness_s=900)


class Metrics(Model):
    """One row per series and step: a sample or a histogram. A series without a value at a step has no row there."""

    series: str = Field("Digest of cluster, metric and labels", max_length=64)
    timestamp: Timestamp = Field("The step, by the server's clock")
    cluster: str = Name("The cluster of the Prometheus server")
    metric: str = Name("The metric's name; the query's where the result has none")
    labels: str = Field("The other labels, as JSON in order of their names", max_length=LABELS_CHARACTERS)
    value: float = Field("The sample as it is; null where it is not finite", nullable=True)
    not_finite: str = Field("NaN, +Inf or -Inf where the sample is that", max_length=4, nullable=True)
    count: float = Field("Of a native histogram: observations", nullable=True)
    sum: float = Field("Of a native histogram: their sum; null where not finite", nullable=True)
    buckets: str = Field(
        "Of a native histogram: [bounds rule, low, high, observations] each, as JSON",
        max_length=1_000_000,
        nullable=True,
    )


class Logs(Model):
    """One row per line of a stream; the same line at the same nanosecond in the same stream is one row."""

    entry_id: str = Field("Digest of cluster, stream, nanosecond and line", max_length=64)
    timestamp: Timestamp = Field("When it was written, by the writer's clock, to the microsecond")
    nanoseconds: int = Field("The same, exact, since 1970", unit="ns", ge=0)
    cluster: str = Name("The cluster of the Loki server")
    query: str = Name("The configured query that found it first")
    stream: str = Field("The stream's labels, as JSON in order of their names", max_length=LABELS_CHARACTERS)
    message: str = Field("The line", pii=True, max_length=1_000_000)


class Traces(Model):
    """One row per span of a trace."""

    trace_id: str = Field("The trace, hexadecimal", max_length=32)
    span_id: str = Field("The span, hexadecimal", max_length=16)
    parent_id: str = Field("The span that it is part of; null for the root", max_length=16, nullable=True)
    timestamp: Timestamp = Field("When it started, to the microsecond")
    duration_ns: int = Field("From start to end", unit="ns", ge=0)
    cluster: str = Name("The cluster of the Tempo server")
    service: str = Name("service.name of the resource", nullable=True)
    name: str = Field("The operation", max_length=4_000)
    kind: str = Name("SPAN_KIND_SERVER, SPAN_KIND_CLIENT, ...", nullable=True)
    status: str = Field("STATUS_CODE_OK, STATUS_CODE_ERROR; null where unset", max_length=64, nullable=True)
    attributes: str = Field("The span's attributes, as JSON in order of their names", pii=True, max_length=1_000_000)


class KubernetesEvents(Model):
    """One row per event and count: Kubernetes counts the repeats of an event, and each observed count is a row."""

    uid: str = Name("The event's uid")
    count: int = Field("How often it has happened", ge=1)
    timestamp: Timestamp = Field("When it happened last")
    first_seen: Timestamp = Field("When it happened first", nullable=True)
    cluster: str = Name("The cluster")
    namespace: str = Name("Of the object", nullable=True)
    kind: str = Name("Of the object: Pod, Node, ...", nullable=True)
    name: str = Name("Of the object", nullable=True)
    type: str = Name("Normal or Warning", nullable=True)
    event_reason: str = Name("The reason, one word", nullable=True)
    message: str = Field("The message", max_length=100_000, nullable=True)
    component: str = Name("The component that reported it", nullable=True)
    host: str = Name("The node", nullable=True)


METRICS = _contract(
    name="processed.metrics",
    model=Metrics,
    classification=Classification.INTERNAL,
    retention_days=30,
    key=("series", "timestamp"),
    source="metrics",
    raw_retention_days=30,
)
LOGS = _contract(
    name="processed.logs",
    model=Logs,
    classification=Classification.CONFIDENTIAL,
    retention_days=30,
    key=("entry_id",),
    source="logs",
    raw_retention_days=30,
)
TRACES = _contract(
    name="processed.traces",
    model=Traces,
    classification=Classification.CONFIDENTIAL,
    retention_days=7,
    key=("trace_id", "span_id"),
    source="traces",
    raw_retention_days=7,
)
KUBERNETES_EVENTS = _contract(
    name="processed.kubernetes_events",
    model=KubernetesEvents,
    classification=Classification.INTERNAL,
    retention_days=7,
    key=("cluster", "uid", "count"),
    source="kubernetes-events",
    raw_retention_days=7,
)

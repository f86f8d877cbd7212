"""The health of a cluster per hour: the contract of ``curated.cluster_health_hourly``."""

from lake.contracts.base import Classification, Contract, Field, Model, OptionalInt, Timestamp


class ClusterHealthHourly(Model):
    """A cluster's health in one hour (UTC), from calls, metrics, logs and events: one row per hour with data."""

    cluster: str = Field(doc="Where the agents run.", max_length=256)
    hour: Timestamp = Field(doc="The full hour (UTC): what happened from it on, before the next.")
    requests: int = Field(doc="Interactions; 0 where there was none.", unit="interactions", ge=0)
    agents: int = Field(doc="Different agents seen.", unit="agents", ge=0)
    errors: int = Field(doc="Interactions that failed.", unit="interactions", ge=0)
    error_rate: float = Field(
        doc="Failed over all interactions; null without any.", unit="share", ge=0, le=1, nullable=True
    )
    latency_p50_ms: float = Field(
        doc="Median (nearest rank) latency of the calls that succeeded; null where none did.",
        unit="ms",
        ge=0,
        nullable=True,
    )
    latency_p95_ms: float = Field(doc="95th percentile (nearest rank) of the same.", unit="ms", ge=0, nullable=True)
    tokens: int = Field(doc="Tokens of queries and responses.", unit="tokens", ge=0)
    last_request_at: Timestamp = Field(
        doc="The newest interaction that is counted: shows how complete an unfinished hour is; null without any.",
        nullable=True,
    )
    log_lines: OptionalInt = Field(doc="Log lines; null where no log came.", unit="lines", ge=0, nullable=True)
    error_log_rate: float = Field(
        doc="Lines that report an error over all lines; null where no line came.",
        unit="share",
        ge=0,
        le=1,
        nullable=True,
    )
    restarts: OptionalInt = Field(
        doc="Restarts of containers; null where no container was measured.", unit="restarts", ge=0, nullable=True
    )
    cpu_pressure: float = Field(
        doc="Share of the hour in which a task of a node waited for a CPU, else CPU used over limits; null where "
        "neither is measured.",
        unit="share",
        ge=0,
        nullable=True,
    )
    memory_pressure: float = Field(
        doc="Share of the hour in which a task of a node waited for memory, else working set over limits at the step "
        "where it was most; null where neither is measured.",
        unit="share",
        ge=0,
        nullable=True,
    )
    measured_requests: float = Field(
        doc="HTTP requests that histograms counted, of all programs on the cluster.",
        unit="requests",
        ge=0,
        nullable=True,
    )
    measured_latency_p95_ms: float = Field(
        doc="95th percentile of their latency, as PromQL's histogram_quantile.", unit="ms", ge=0, nullable=True
    )
    crash_loops: OptionalInt = Field(
        doc="Pods whose containers Kubernetes held back from restarting; null where no event came.",
        unit="pods",
        ge=0,
        nullable=True,
    )
    warning_events: OptionalInt = Field(
        doc="Kubernetes events of type Warning, each count one; null likewise.", unit="events", ge=0, nullable=True
    )
    built_from: str = Field(doc="Digest of the input files of this day and of the transform.", max_length=64)


CLUSTER_HEALTH_HOURLY = Contract(
    name="curated.cluster_health_hourly",
    version="2.0",
    model=ClusterHealthHourly,
    owner="platform",
    classification=Classification.INTERNAL,
    retention_days=365,
    partition=("day(hour)",),
    key=("cluster", "hour"),
    freshness_s=2 * 3600,
)

"""The health of a cluster's namespace in one hour: the contract of ``ml.infrastructure_features``."""

from lake.contracts.base import Classification, Contract, Field, Latency, Model, OptionalInt, Share, Timestamp


class InfrastructureFeatures(Model):
    """How a cluster's namespace did in the hour before a window end (UTC): one row a namespace and hour heard of."""

    cluster_namespace: str = Field(
        "The cluster and the namespace, as studio/agents; studio/* is the whole cluster, nodes included.",
        max_length=513,
    )
    event_timestamp: Timestamp = Field("Window end, a full hour: only what was measured before it counts.")
    created_timestamp: Timestamp = Field(
        "When the scheduled materialization makes the row available: half past the hour."
    )
    error_log_rate: float = Share("Log lines that say an error over all lines; null where no line came.", nullable=True)
    restarts: OptionalInt = Field(
        "Restarts of containers (kube-state-metrics); null where no container was measured.",
        unit="restarts",
        ge=0,
        nullable=True,
    )
    cpu_pressure: float = Field(
        "Share of the hour in which a task of a node waited for a CPU (pressure stall information, the whole "
        "cluster only), else CPU used over the limits of the containers that have one; null where neither is measured.",
        unit="share",
        ge=0,
        nullable=True,
    )
    memory_pressure: float = Field(
        "Share of the hour in which a task of a node waited for memory (likewise), else working set over the "
        "limits of the containers that have one, at the step where it was most; null where neither is measured.",
        unit="share",
        ge=0,
        nullable=True,
    )
    latency_p95_ms: float = Latency(
        "95th percentile of the requests' latency, from their histogram as PromQL's histogram_quantile; null where "
        "no request was measured.",
        nullable=True,
    )
    requests_per_hour: float = Field(
        "Requests that the same histogram counted.", unit="requests/hour", ge=0, nullable=True
    )
    crash_loops: OptionalInt = Field(
        "Pods whose containers Kubernetes held back from restarting; null where the cluster told of no event.",
        unit="pods",
        ge=0,
        nullable=True,
    )
    warning_events: OptionalInt = Field(
        "Kubernetes events of type Warning, each count one; null likewise.", unit="events", ge=0, nullable=True
    )


INFRASTRUCTURE_FEATURES = Contract(
    name="ml.infrastructure_features",
    version="1.0",
    model=InfrastructureFeatures,
    owner="platform",
    classification=Classification.INTERNAL,
    retention_days=90,
    partition=("day(event_timestamp)",),
    key=("cluster_namespace", "event_timestamp"),
    freshness_s=9000,
)

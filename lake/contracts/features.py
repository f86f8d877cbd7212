"""The contracts of the features: what users, agents and namespaces of clusters did up to the end of a window."""

from lake.contracts.base import Classification, Contract, Field, Latency, Measured, Model, OptionalInt, Share, Timestamp


class UserFeatures(Model):
    """What a user had done by a window end (00:00 UTC): one row a user and day, while active within seven days."""

    user_id: str = Field("The user.", pii=True, max_length=256)
    event_timestamp: Timestamp = Field("Window end: only interactions before it count.")
    created_timestamp: Timestamp = Field("When the scheduled materialization makes the row available: 02:00 UTC.")
    total_queries: int = Field("Interactions before the window end.", unit="interactions", ge=1)
    queries_last_7d: int = Field("Interactions in the seven days before the window end.", unit="interactions", ge=1)
    queries_last_24h: int = Field("Interactions in the day before the window end.", unit="interactions", ge=0)
    avg_query_length: float = Field("Mean length of the queries.", unit="characters", ge=0)
    most_used_agent: str = Field("Agent with the most interactions; the first by name where several have as many.")
    error_rate: float = Share("Failed interactions over all interactions.")
    avg_latency_ms: float = Latency("Mean latency of the calls that succeeded; null where none did.", nullable=True)


class AgentFeatures(Model):
    """How an agent did in the hour before a window end (a full hour, UTC): one row an agent and hour with traffic."""

    agent_name: str = Field("The agent.", registry="agents")
    event_timestamp: Timestamp = Field("Window end: only interactions of the hour before it count.")
    created_timestamp: Timestamp = Field(
        "When the scheduled materialization makes the row available: a quarter past the hour."
    )
    requests_per_hour: int = Field("Interactions in the hour.", unit="interactions/hour", ge=1)
    latency_p50_ms: float = Latency(
        "Median (nearest rank) latency of the calls that succeeded; null where none did.", nullable=True
    )
    latency_p95_ms: float = Latency(
        "95th percentile (nearest rank) of the latency of the calls that succeeded; null where none did.", nullable=True
    )
    error_rate: float = Share("Failed interactions over all interactions.")
    token_usage_rate: float = Field("Tokens used in the hour.", unit="tokens/hour", ge=0)
    uptime_percentage: float = Field(
        "Share of the hour's steps at which a target of the agent's scrape job was up (`up`), or else its "
        "deployment had a replica available (kube-state-metrics); where neither is measured, share of the five-minute "
        "windows with traffic in which under half of the calls failed.",
        unit="percent",
        ge=0,
        le=100,
    )


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
    restarts: OptionalInt = Measured(
        "Restarts of containers (kube-state-metrics); null where no container was measured.", unit="restarts"
    )
    cpu_pressure: float = Measured(
        "Share of the hour in which a task of a node waited for a CPU (pressure stall information, the whole "
        "cluster only), else CPU used over the limits of the containers that have one; null where neither is measured.",
        unit="share",
    )
    memory_pressure: float = Measured(
        "Share of the hour in which a task of a node waited for memory (likewise), else working set over the "
        "limits of the containers that have one, at the step where it was most; null where neither is measured.",
        unit="share",
    )
    latency_p95_ms: float = Latency(
        "95th percentile of the requests' latency, from their histogram as PromQL's histogram_quantile; null where "
        "no request was measured.",
        nullable=True,
    )
    requests_per_hour: float = Measured("Requests that the same histogram counted.", unit="requests/hour")
    crash_loops: OptionalInt = Measured(
        "Pods whose containers Kubernetes held back from restarting; null where the cluster told of no event.",
        unit="pods",
    )
    warning_events: OptionalInt = Measured(
        "Kubernetes events of type Warning, each count one; null likewise.", unit="events"
    )


USER_FEATURES = Contract(
    name="ml.user_features",
    version="1.0",
    model=UserFeatures,
    owner="ml-platform",
    classification=Classification.CONFIDENTIAL,
    retention_days=90,
    partition=("day(event_timestamp)",),
    key=("user_id", "event_timestamp"),
    freshness_s=27 * 3600,
)
AGENT_FEATURES = Contract(
    name="ml.agent_features",
    version="1.1",
    model=AgentFeatures,
    owner="ml-platform",
    classification=Classification.INTERNAL,
    retention_days=90,
    partition=("day(event_timestamp)",),
    key=("agent_name", "event_timestamp"),
    freshness_s=2 * 3600,
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

"""The contracts of the curated data sets: each row is computed from other tables, and its day rebuilt as a whole."""

from lake.contracts.base import Classification, Contract, Field, Latency, Measured, Model, OptionalInt, Share, Timestamp


class AgentPerformanceDaily(Model):
    """An agent's performance on one day (UTC), with the ratings that came up to the end of the seventh day after it."""

    agent_name: str = Field("The agent.", registry="agents")
    day: Timestamp = Field("The day's midnight (UTC): interactions from it on, before the next.")
    requests: int = Field("Interactions.", unit="interactions", ge=1)
    users: int = Field("Different users.", unit="users", ge=1)
    errors: int = Field("Interactions that failed.", unit="interactions", ge=0)
    error_rate: float = Share("Failed over all interactions.")
    latency_mean_ms: float = Latency("Mean latency of the calls that succeeded; null where none did.", nullable=True)
    latency_p50_ms: float = Latency("Median (nearest rank) latency of the calls that succeeded.", nullable=True)
    latency_p95_ms: float = Latency("95th percentile (nearest rank) of the same.", nullable=True)
    tokens: int = Field("Tokens of queries and responses.", unit="tokens", ge=0)
    tokens_per_request: float = Field("Tokens over interactions.", unit="tokens", ge=0)
    rated: int = Field("Rated interactions; the latest rating counts.", unit="interactions", ge=0)
    thumbs_up: int = Field("Of these, those rated positively.", unit="interactions", ge=0)
    liked: float = Share("Positively rated over rated; null where none was rated.", nullable=True)
    last_request_at: Timestamp = Field(
        "The newest interaction that is counted: shows how complete an unfinished day is."
    )
    built_from: str = Field("Digest of the input files of this day and of the transform.", max_length=64)


class ClusterHealthHourly(Model):
    """A cluster's health in one hour (UTC), from calls, metrics, logs and events: one row per hour with data."""

    cluster: str = Field("Where the agents run.", max_length=256)
    hour: Timestamp = Field("The full hour (UTC): what happened from it on, before the next.")
    requests: int = Field("Interactions; 0 where there was none.", unit="interactions", ge=0)
    agents: int = Field("Different agents seen.", unit="agents", ge=0)
    errors: int = Field("Interactions that failed.", unit="interactions", ge=0)
    error_rate: float = Share("Failed over all interactions; null without any.", nullable=True)
    latency_p50_ms: float = Latency(
        "Median (nearest rank) latency of the calls that succeeded; null where none did.", nullable=True
    )
    latency_p95_ms: float = Latency("95th percentile (nearest rank) of the same.", nullable=True)
    tokens: int = Field("Tokens of queries and responses.", unit="tokens", ge=0)
    last_request_at: Timestamp = Field(
        "The newest interaction that is counted: shows how complete an unfinished hour is; null without any.",
        nullable=True,
    )
    log_lines: OptionalInt = Measured("Log lines; null where no log came.", unit="lines")
    error_log_rate: float = Share("Lines that report an error over all lines; null where no line came.", nullable=True)
    restarts: OptionalInt = Measured("Restarts of containers; null where no container was measured.", unit="restarts")
    cpu_pressure: float = Measured(
        "Share of the hour in which a task of a node waited for a CPU, else CPU used over limits; null where "
        "neither is measured.",
        unit="share",
    )
    memory_pressure: float = Measured(
        "Share of the hour in which a task of a node waited for memory, else working set over limits at the step "
        "where it was most; null where neither is measured.",
        unit="share",
    )
    measured_requests: float = Measured(
        "HTTP requests that histograms counted, of all programs on the cluster.", unit="requests"
    )
    measured_latency_p95_ms: float = Latency(
        "95th percentile of their latency, as PromQL's histogram_quantile.", nullable=True
    )
    crash_loops: OptionalInt = Measured(
        "Pods whose containers Kubernetes held back from restarting; null where no event came.", unit="pods"
    )
    warning_events: OptionalInt = Measured(
        "Kubernetes events of type Warning, each count one; null likewise.", unit="events"
    )
    built_from: str = Field("Digest of the input files of this day and of the transform.", max_length=64)


class UserInteractionSummary(Model):
    """A user's interactions on one day (UTC), with the ratings that came up to the end of the seventh day; no text."""

    user_id: str = Field("The user.", pii=True, max_length=256)
    day: Timestamp = Field("The day's midnight (UTC): interactions from it on, before the next.")
    requests: int = Field("Interactions.", unit="interactions", ge=1)
    agents: int = Field("Different agents.", unit="agents", ge=1)
    most_used_agent: str = Field("Agent with the most interactions; the first by name where several have as many.")
    errors: int = Field("Interactions that failed.", unit="interactions", ge=0)
    error_rate: float = Share("Failed over all interactions.")
    latency_mean_ms: float = Latency("Mean latency of the calls that succeeded; null where none did.", nullable=True)
    tokens: int = Field("Tokens of queries and responses.", unit="tokens", ge=0)
    rated: int = Field("Rated interactions; the latest rating counts.", unit="interactions", ge=0)
    thumbs_up: int = Field("Of these, those rated positively.", unit="interactions", ge=0)
    first_request_at: Timestamp = Field("The day's first interaction.")
    last_request_at: Timestamp = Field("The day's last interaction so far.")
    built_from: str = Field("Digest of the input files of this day and of the transform.", max_length=64)


AGENT_PERFORMANCE_DAILY = Contract(
    name="curated.agent_performance_daily",
    version="1.0",
    model=AgentPerformanceDaily,
    owner="ml-platform",
    classification=Classification.INTERNAL,
    retention_days=730,
    partition=("day(day)",),
    key=("agent_name", "day"),
    freshness_s=28 * 3600,
)

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

USER_INTERACTION_SUMMARY = Contract(
    name="curated.user_interaction_summary",
    version="1.0",
    model=UserInteractionSummary,
    owner="ml-platform",
    classification=Classification.CONFIDENTIAL,
    retention_days=180,  # no longer than the interactions themselves: it names users
    partition=("day(day)",),
    key=("user_id", "day"),
    freshness_s=28 * 3600,
)

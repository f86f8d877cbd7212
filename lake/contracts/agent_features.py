"""An agent's performance in one hour: the contract of ``ml.agent_features``."""

from lake.contracts.base import Classification, Contract, Field, Latency, Model, Share, Timestamp


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

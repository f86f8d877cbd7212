"""An agent's performance per day: the contract of ``curated.agent_performance_daily``."""

from lake.contracts.base import Classification, Contract, Field, Model, Timestamp


class AgentPerformanceDaily(Model):
    """An agent's performance on one day (UTC), with the ratings that came up to the end of the seventh day after it."""

    agent_name: str = Field(doc="The agent.", registry="agents")
    day: Timestamp = Field(doc="The day's midnight (UTC): interactions from it on, before the next.")
    requests: int = Field(doc="Interactions.", unit="interactions", ge=1)
    users: int = Field(doc="Different users.", unit="users", ge=1)
    errors: int = Field(doc="Interactions that failed.", unit="interactions", ge=0)
    error_rate: float = Field(doc="Failed over all interactions.", unit="share", ge=0, le=1)
    latency_mean_ms: float = Field(
        doc="Mean latency of the calls that succeeded; null where none did.", unit="ms", ge=0, nullable=True
    )
    latency_p50_ms: float = Field(
        doc="Median (nearest rank) latency of the calls that succeeded.", unit="ms", ge=0, nullable=True
    )
    latency_p95_ms: float = Field(doc="95th percentile (nearest rank) of the same.", unit="ms", ge=0, nullable=True)
    tokens: int = Field(doc="Tokens of queries and responses.", unit="tokens", ge=0)
    tokens_per_request: float = Field(doc="Tokens over interactions.", unit="tokens", ge=0)
    rated: int = Field(doc="Rated interactions; the latest rating counts.", unit="interactions", ge=0)
    thumbs_up: int = Field(doc="Of these, those rated positively.", unit="interactions", ge=0)
    liked: float = Field(
        doc="Positively rated over rated; null where none was rated.", unit="share", ge=0, le=1, nullable=True
    )
    last_request_at: Timestamp = Field(
        doc="The newest interaction that is counted: shows how complete an unfinished day is."
    )
    built_from: str = Field(doc="Digest of the input files of this day and of the transform.", max_length=64)


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

"""A user's activity up to midnight: the contract of ``ml.user_features``."""

from lake.contracts.base import Classification, Contract, Field, Latency, Model, Name, Share, Timestamp


class UserFeatures(Model):
    """What a user had done by a window end (00:00 UTC): one row a user and day, while active within seven days."""

    user_id: str = Name("The user.", pii=True)
    event_timestamp: Timestamp = Field("Window end: only interactions before it count.")
    created_timestamp: Timestamp = Field("When the scheduled materialization makes the row available: 02:00 UTC.")
    total_queries: int = Field("Interactions before the window end.", unit="interactions", ge=1)
    queries_last_7d: int = Field("Interactions in the seven days before the window end.", unit="interactions", ge=1)
    queries_last_24h: int = Field("Interactions in the day before the window end.", unit="interactions", ge=0)
    avg_query_length: float = Field("Mean length of the queries.", unit="characters", ge=0)
    most_used_agent: str = Field("Agent with the most interactions; the first by name where several have as many.")
    error_rate: float = Share("Failed interactions over all interactions.")
    avg_latency_ms: float = Latency("Mean latency of the calls that succeeded; null where none did.", nullable=True)


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

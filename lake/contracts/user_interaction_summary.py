"""A user's interactions per day: the contract of ``curated.user_interaction_summary``."""

from lake.contracts.base import Classification, Contract, Field, Model, Timestamp


class UserInteractionSummary(Model):
    """A user's interactions on one day (UTC), with the ratings that came up to the end of the seventh day; no text."""

    user_id: str = Field(doc="The user.", pii=True, max_length=256)
    day: Timestamp = Field(doc="The day's midnight (UTC): interactions from it on, before the next.")
    requests: int = Field(doc="Interactions.", unit="interactions", ge=1)
    agents: int = Field(doc="Different agents.", unit="agents", ge=1)
    most_used_agent: str = Field(doc="Agent with the most interactions; the first by name where several have as many.")
    errors: int = Field(doc="Interactions that failed.", unit="interactions", ge=0)
    error_rate: float = Field(doc="Failed over all interactions.", unit="share", ge=0, le=1)
    latency_mean_ms: float = Field(
        doc="Mean latency of the calls that succeeded; null where none did.", unit="ms", ge=0, nullable=True
    )
    tokens: int = Field(doc="Tokens of queries and responses.", unit="tokens", ge=0)
    rated: int = Field(doc="Rated interactions; the latest rating counts.", unit="interactions", ge=0)
    thumbs_up: int = Field(doc="Of these, those rated positively.", unit="interactions", ge=0)
    first_request_at: Timestamp = Field(doc="The day's first interaction.")
    last_request_at: Timestamp = Field(doc="The day's last interaction so far.")
    built_from: str = Field(doc="Digest of the input files of this day and of the transform.", max_length=64)


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

"""Ratings, which come later than the answers that they rate: the contract of ``processed.agent_feedback``."""

from lake.contracts.base import Classification, Contract, Field, Model, Timestamp


class AgentFeedback(Model):
    """A user's rating of one interaction at one time; the latest one counts."""

    interaction_id: str = Field(doc="The interaction that is rated.", max_length=256)
    value: int = Field(doc="1 positive, 0 negative.", allowed=(0, 1))
    timestamp: Timestamp = Field(doc="When the user rated it.")


AGENT_FEEDBACK = Contract(
    name="processed.agent_feedback",
    version="1.0",
    model=AgentFeedback,
    owner="agents",
    classification=Classification.CONFIDENTIAL,
    retention_days=365,
    partition=("day(timestamp)",),
    key=("interaction_id", "timestamp"),
    freshness_s=300,
    source="feedback",
    raw_retention_days=90,
)

"""Requests to the agents and their answers, which all other data sets are computed from, and the users' ratings."""

from lake.contracts.base import TEXT_CHARACTERS, Classification, Contract, Field, Model, Name, OptionalInt, Timestamp


class AgentInteractions(Model):
    """One row per answered or failed request to an agent."""

    interaction_id: str = Name("Identifier given by the agent")
    timestamp: Timestamp = Field("When the request came in")
    agent_name: str = Name("The agent that answered", registry="agents")
    user_id: str = Name("The user", pii=True)
    user_query: str = Field("The query", pii=True, max_length=TEXT_CHARACTERS)
    response: str = Field("The response", pii=True, max_length=TEXT_CHARACTERS)
    latency_ms: int = Field("Request to last token", unit="ms", ge=100, ge_if_failed=0, le=30_000)
    tokens_used: int = Field("Query and response", unit="tokens", ge=1, ge_if_failed=0, le=100_000)
    error: bool = Field("Whether the call failed")
    feedback: OptionalInt = Field("1 thumbs up, 0 thumbs down, null unrated", allowed=(0, 1), nullable=True)
    model_version: str = Name("The model version that answered")
    cluster: str = Name("Where the agent runs")


class AgentFeedback(Model):
    """A user's rating of one interaction at one time; the latest one counts."""

    interaction_id: str = Name("The interaction that is rated.")
    value: int = Field("1 positive, 0 negative.", allowed=(0, 1))
    timestamp: Timestamp = Field("When the user rated it.")


AGENT_INTERACTIONS = Contract(
    name="processed.agent_interactions",
    version="1.0",
    model=AgentInteractions,
    owner="platform",
    classification=Classification.CONFIDENTIAL,
    retention_days=180,
    partition=("day(timestamp)", "cluster"),
    key=("interaction_id",),
    unique=(("timestamp", "agent_name"),),
    freshness_s=300,
    source="agents",
    raw_retention_days=90,
)
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

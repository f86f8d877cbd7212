"""Requests to the agents and their answers: the data set that all others are computed from."""

from lake.contracts.base import Classification, Contract, Field, Model, OptionalInt, Timestamp

TEXT_CHARACTERS = 100_000
NAME_CHARACTERS = 256


class AgentInteractions(Model):
    """One row per answered or failed request to an agent."""

    interaction_id: str = Field(doc="Identifier given by the agent", max_length=NAME_CHARACTERS)
    timestamp: Timestamp = Field(doc="When the request came in")
    agent_name: str = Field(doc="The agent that answered", registry="agents", max_length=NAME_CHARACTERS)
    user_id: str = Field(doc="The user", pii=True, max_length=NAME_CHARACTERS)
    user_query: str = Field(doc="The query", pii=True, max_length=TEXT_CHARACTERS)
    response: str = Field(doc="The response", pii=True, max_length=TEXT_CHARACTERS)
    latency_ms: int = Field(doc="Request to last token", unit="ms", ge=100, ge_if_failed=0, le=30_000)
    tokens_used: int = Field(doc="Query and response", unit="tokens", ge=1, ge_if_failed=0, le=100_000)
    error: bool = Field(doc="Whether the call failed")
    feedback: OptionalInt = Field(doc="1 thumbs up, 0 thumbs down, null unrated", allowed=(0, 1), nullable=True)
    model_version: str = Field(doc="The model version that answered", max_length=NAME_CHARACTERS)
    cluster: str = Field(doc="Where the agent runs", max_length=NAME_CHARACTERS)


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
    completeness=0.99,
    parse_errors_max=0.01,
    source="agents",
    raw_retention_days=90,
)

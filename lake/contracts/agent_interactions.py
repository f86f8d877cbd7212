"""What the agents were asked and what they answered: the data set that everything else is made from."""

from lake.contracts.base import Classification, Contract, Field, Model, OptionalInt, Timestamp

TEXT_CHARACTERS = 100_000
NAME_CHARACTERS = 256


class AgentInteractions(Model):
    """One row an answered (or failed) request to an agent."""

    interaction_id: str = Field(doc="Identifier given by the agent", max_length=NAME_CHARACTERS)
    timestamp: Timestamp = Field(doc="When the request came in")
    agent_name: str = Field(doc="Who answered", registry="agents", max_length=NAME_CHARACTERS)
    user_id: str = Field(doc="Who asked", pii=True, max_length=NAME_CHARACTERS)
    user_query: str = Field(doc="What was asked", pii=True, max_length=TEXT_CHARACTERS)
    response: str = Field(doc="What was answered", pii=True, max_length=TEXT_CHARACTERS)
    latency_ms: int = Field(doc="Request to last token", unit="ms", ge=100, ge_if_failed=0, le=30_000)
    tokens_used: int = Field(doc="Query and response", unit="tokens", ge=1, ge_if_failed=0, le=100_000)
    error: bool = Field(doc="Whether the call failed")
    feedback: OptionalInt = Field(doc="1 thumbs up, 0 thumbs down, null unrated", allowed=(0, 1), nullable=True)
    model_version: str = Field(doc="Which model answered", max_length=NAME_CHARACTERS)
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

"""The inputs of each answer and the version that gave it: the contract of ``processed.model_predictions``."""

from lake.contracts.agent_interactions import NAME_CHARACTERS
from lake.contracts.base import Classification, Contract, Field, OptionalInt, Timestamp
from lake.contracts.joined_features import JoinedFeatures


class ModelPredictions(JoinedFeatures):  # type: ignore[misc, valid-type]
    """One answered request: model and prompt version, the feature values it was answered with, time to first token."""

    interaction_id: str = Field(doc="The interaction it answered.", max_length=NAME_CHARACTERS)
    timestamp: Timestamp = Field(doc="When the features were read and the prompt was rendered.")
    agent_name: str = Field(doc="The agent that answered.", registry="agents", max_length=NAME_CHARACTERS)
    model_version: str = Field(
        doc="Adapter that answered, for example agents@3f9c2a71, or base.", max_length=NAME_CHARACTERS
    )
    prompt_version: str = Field(doc="Version of the prompt's wording.", max_length=NAME_CHARACTERS)
    time_to_first_token_ms: OptionalInt = Field(
        doc="From the request to the first token; null where the call failed before.", unit="ms", ge=0, nullable=True
    )
    latency_ms: int = Field(
        doc="From the request to the last token, or to the failure; 30,000 where the client left before its end.",
        unit="ms",
        ge=0,
    )
    failed: bool = Field(doc="Whether the call failed, was refused, or returned neither text nor a tool call.")
    rollout: str = Field(doc="The open rollout; null where there was none.", max_length=512, nullable=True)
    arm: str = Field(doc="stable or candidate; null where there was no rollout.", max_length=16, nullable=True)
    unit: str = Field(
        doc="Pseudonym, for this rollout only, of what the split assigns to an arm; null where there was no rollout.",
        max_length=64,
        nullable=True,
    )


MODEL_PREDICTIONS = Contract(
    name="processed.model_predictions",
    version="1.1",
    model=ModelPredictions,
    owner="serving",
    classification=Classification.CONFIDENTIAL,
    retention_days=365,
    partition=("day(timestamp)",),
    key=("interaction_id",),
    freshness_s=300,
    source="predictions",
    raw_retention_days=90,
)

"""The inputs of each answer and the version that gave it: the contract of ``processed.model_predictions``."""

from lake.contracts.base import Classification, Contract, Field, Latency, Name, OptionalInt, Timestamp
from lake.contracts.joined_features import JoinedFeatures


class ModelPredictions(JoinedFeatures):  # type: ignore[misc, valid-type]
    """One answered request: model and prompt version, the feature values it was answered with, time to first token."""

    interaction_id: str = Name("The interaction it answered.")
    timestamp: Timestamp = Field("When the features were read and the prompt was rendered.")
    agent_name: str = Name("The agent that answered.", registry="agents")
    model_version: str = Name("Adapter that answered, for example agents@3f9c2a71, or base.")
    prompt_version: str = Name("Version of the prompt's wording.")
    time_to_first_token_ms: OptionalInt = Latency(
        "From the request to the first token; null where the call failed before.", nullable=True
    )
    latency_ms: int = Latency(
        "From the request to the last token, or to the failure; 30,000 where the client left before its end."
    )
    failed: bool = Field("Whether the call failed, was refused, or returned neither text nor a tool call.")
    rollout: str = Field("The open rollout; null where there was none.", max_length=512, nullable=True)
    arm: str = Field("stable or candidate; null where there was no rollout.", max_length=16, nullable=True)
    unit: str = Field(
        "Pseudonym, for this rollout only, of what the split assigns to an arm; null where there was no rollout.",
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

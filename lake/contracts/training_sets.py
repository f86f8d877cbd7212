"""The rows that a model was trained and tested on: the contract of ``ml.training_sets``."""

from lake.contracts.base import (
    NAME_CHARACTERS,
    TEXT_CHARACTERS,
    Classification,
    Contract,
    Field,
    OptionalInt,
    Timestamp,
)
from lake.contracts.joined_features import JoinedFeatures


class TrainingSets(JoinedFeatures):  # type: ignore[misc, valid-type]
    """An interaction in a training set, with its rating, its weight and the features as of its timestamp."""

    training_set_id: str = Field(doc="Digest of all that changes the rows.")
    split: str = Field(doc="'train' before the split in time, 'test' from it on.")
    interaction_id: str = Field(doc="The interaction.", max_length=NAME_CHARACTERS)
    timestamp: Timestamp = Field(doc="When the request came in.")
    agent_name: str = Field(doc="Who answered.", registry="agents", max_length=NAME_CHARACTERS)
    user_id: str = Field(doc="Who asked.", pii=True, max_length=NAME_CHARACTERS)
    user_query: str = Field(doc="What was asked.", pii=True, max_length=TEXT_CHARACTERS)
    response: str = Field(doc="What was answered.", pii=True, max_length=TEXT_CHARACTERS)
    error: bool = Field(doc="Whether the call failed.")
    feedback: OptionalInt = Field(
        doc="Latest rating known at the cut: 1 thumbs up, 0 thumbs down, null unrated.", allowed=(0, 1), nullable=True
    )
    weight: float = Field(doc="Weight of the example in the loss; 0 leaves it out.", ge=0)


TRAINING_SETS = Contract(
    name="ml.training_sets",
    version="1.1",
    model=TrainingSets,
    owner="ml-platform",
    classification=Classification.CONFIDENTIAL,
    retention_days=365,
    partition=("training_set_id",),
    key=("training_set_id", "interaction_id"),
    freshness_s=8 * 24 * 3600,
)

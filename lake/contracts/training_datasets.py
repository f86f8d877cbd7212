"""The catalogue of training sets: the contract of ``ml.training_datasets``."""

from lake.contracts.base import Classification, Contract, Field, Model, OptionalInt, Timestamp


class TrainingDatasets(Model):
    """One training set: its inputs, its cut and split, and the versions trained on it. It holds no row of the set."""

    training_set_id: str = Field("Digest of all that changes its rows.", max_length=64)
    model: str = Field("The model; null while nothing was trained on it.", nullable=True)
    cut: Timestamp = Field("Only earlier data were used; null while nothing was trained on it.", nullable=True)
    split_at: Timestamp = Field("The first test row's time.")
    first_timestamp: Timestamp = Field("Its oldest interaction.")
    last_timestamp: Timestamp = Field("Its newest interaction.")
    rows: int = Field("Rows.", unit="rows", ge=2)
    train_rows: int = Field("Rows before the split.", unit="rows", ge=1)
    test_rows: int = Field("Rows from the split on.", unit="rows", ge=1)
    weighing_rows: int = Field("Training rows with a weight in the loss.", unit="rows", ge=0)
    rated: int = Field("Rated rows.", unit="rows", ge=0)
    thumbs_up: int = Field("Of these, those rated positively.", unit="rows", ge=0)
    agents: int = Field("Different agents.", unit="agents", ge=1)
    users: int = Field("Different users.", unit="users", ge=1)
    inputs: str = Field(
        "The pinned versions it was joined from, comma-separated; null while nothing was trained on it.", nullable=True
    )
    trainings: OptionalInt = Field("Trainings completed on it; null for none.", unit="trainings", ge=1, nullable=True)
    model_versions: str = Field(
        "The versions registered from them, comma-separated, for example agents@v3; null for none.", nullable=True
    )
    built_from: str = Field("Digest of its files, its ledger entries and the transform.", max_length=64)


TRAINING_DATASETS = Contract(
    name="ml.training_datasets",
    version="1.0",
    model=TrainingDatasets,
    owner="ml-platform",
    classification=Classification.INTERNAL,
    retention_days=730,
    partition=("training_set_id",),
    key=("training_set_id",),
    freshness_s=8 * 24 * 3600,
)

"""What the model stages pass to one another: frozen references to immutable things, usable as Flyte inputs and
outputs.
"""

from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

from lake.tables.versions import TableVersion


@dataclass(frozen=True, kw_only=True, slots=True)
class Cause:
    """Why a retraining was started: a trigger's decision, or a person."""

    trigger: str = "hand"
    """``schedule``, ``volume``, ``error_rate``, ``drift``, ``feedback``, ``hand`` or ``retention``."""
    reason: str = "no reason given"
    """One sentence with the numbers; never a user's text."""
    by: str = ""
    """The person, if one started it."""
    decision: str = ""
    """Key of the decision in the chain ``triggers/<model>/<trigger>``; empty where there was no decision."""
    request: int = 0
    """Number of the request in the model's chain; 0 where the graph was started directly."""


UNKNOWN_CAUSE = Cause()
"""The cause of a retraining that was started without one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingSet:
    """The rows of ``ml.training_sets`` with one id, split by time: train before ``split_at``, test from it on."""

    model: str
    training_set_id: str
    """Key of what it was made from: pinned inputs, cut, model spec. Equal ids have equal rows."""
    table: TableVersion
    inputs: list[TableVersion]
    """The pinned snapshots it was joined from (interactions, feedback, user features, agent features)."""
    cut: datetime
    """Data cut (UTC): it contains only what was known before."""
    split_at: datetime
    """First instant of the test split (UTC)."""
    train_rows: int
    test_rows: int


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainedAdapter:
    """A LoRA adapter at ``path`` in the object store: ``adapter_model.safetensors``, ``adapter_config.json``."""

    model: str
    training_key: str
    training_set: TrainingSet
    path: str
    digest: str
    """sha256 over the weights file."""
    base_digest: str
    steps: int
    train_loss: float
    """Weighted mean loss of the last tenth of the steps, nats per response token."""
    tokens: int
    """Non-padding tokens seen in training."""


class Judgement(Enum):
    """The result of an evaluation; with too few data there is none."""

    BETTER = "better"
    NOT_SHOWN_BETTER = "not_shown_better"
    WORSE = "worse"
    TOO_LITTLE_DATA = "too_little_data"


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoreDifference:
    """Candidate minus baseline on one slice, nats per response token: below zero is better."""

    slice: str
    """``all`` or an agent's name."""
    rows: int
    users: int
    candidate: float
    baseline: float
    difference: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """The candidate against the model in production on the same held-out rows."""

    model: str
    adapter: TrainedAdapter
    baseline: str
    """``agents@v3``, or ``base`` where no version is in production."""
    judgement: Judgement
    overall: ScoreDifference
    agents: list[ScoreDifference] = field(default_factory=list)
    path: str = ""
    """Object with the per-row scores (Parquet)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelVersion:
    """A registered version: an immutable folder ``ml/models/{model}/v{version}/`` whose manifest was written last."""

    model: str
    version: int
    path: str
    digest: str
    """sha256 of the adapter's weights file."""

    @property
    def name(self) -> str:
        """``agents@v3``, as the command line takes it."""
        return f"{self.model}@v{self.version}"

    @property
    def adapter_name(self) -> str:
        """The immutable name that serving uses: ``agents@3f9c2a71``."""
        return f"{self.model}@{self.digest[:8]}"


BASE = "base"
"""The name of a baseline where no version is in production: the base model."""


def baseline_name(version: ModelVersion | None) -> str:
    """``agents@v3``, or ``base`` where no version is in production."""
    return version.name if version else BASE


class Outcome(Enum):
    """What came of a retraining or its candidate."""

    PROMOTED = "promoted"
    REJECTED = "rejected"
    INCONCLUSIVE = "inconclusive"
    ROLLED_BACK = "rolled_back"
    """Shown worse by its users' requests, or rolled back by a person."""
    NOT_REGISTERED = "not_registered"
    NOTHING_NEW = "nothing_new"
    COVERED = "covered"
    """Another run was training the model."""
    ROLLING_OUT = "rolling_out"
    """Registered, and its rollout is open."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """How a retraining ended, and the ledger entry that says why."""

    model: str
    outcome: Outcome
    version: int
    """0 where nothing was registered."""
    reason: str
    entry: str
    """Digest of the ledger entry that ended it."""

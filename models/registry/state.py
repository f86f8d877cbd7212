"""The state of a model at one instant: versions, production, rollout, training and request.

``models.registry.fold`` computes it from the model's chain in the ledger.
"""

from dataclasses import dataclass
from datetime import datetime

from models.types import BASE, Cause, ModelVersion


@dataclass(frozen=True, kw_only=True, slots=True)
class Rollout:
    """A candidate on its way to the users."""

    version: int
    baseline: str
    """``agents@v3`` or ``base``."""
    opened: datetime
    key: str
    """Of the entry that opened it."""
    share: float = 0.0
    """Share of the users whom the candidate answers (0..1); 0 while the shadow is all there is."""
    began: datetime | None = None
    """When the candidate met its first user."""
    widened: datetime | None = None
    """When the share was last widened."""
    approved: bool = False
    """Whether a person has agreed to the promotion."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Soak:
    """A promoted version that is still watched: a few users stay with the former version, for comparison."""

    key: str
    """Of the rollout that promoted it."""
    version: int
    former: ModelVersion | None
    """What it replaced; None: the base model."""
    share: float
    """Share of the users whom the promoted version answers."""
    began: datetime
    """When it met its first user, as a candidate."""
    until: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """A retraining that a trigger asked for and that has not ended."""

    number: int
    trigger: str
    decision: str
    """Key of the decision in the trigger's chain."""
    reason: str
    by: str
    """The person, where it was one."""
    requested: datetime
    run: str
    """Name of the run that it is given: its own in every lake, so that starting it twice starts it once."""

    @property
    def cause(self) -> Cause:
        """What its retraining is told."""
        return Cause(trigger=self.trigger, reason=self.reason, by=self.by, decision=self.decision, request=self.number)


@dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """A training that is complete: what the triggers measure from, once its retraining has ended too."""

    cut: datetime
    """Data cut (UTC): what came after it is new."""
    training_set_id: str
    inputs: tuple[str, ...]
    """The pinned versions, such as ``processed.agent_interactions@123``."""
    ended: datetime | None = None
    """When the last retraining on it ended, which may be long after the cut; None: none has."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelState:
    """A model as of one instant."""

    model: str
    production: ModelVersion | None = None
    """None: the base model answers."""
    since: datetime | None = None
    """When that last changed; None: never."""
    former: tuple[ModelVersion | None, ...] = ()
    """What was in production before, newest last: where a roll-back leads."""
    versions: tuple[ModelVersion, ...] = ()
    """Registered versions, oldest first."""
    rollout: Rollout | None = None
    """The open rollout; a model has one at most."""
    soak: Soak | None = None
    """The watch over the version in production after its promotion, while it lasts."""
    waiting: tuple[ModelVersion, ...] = ()
    """Registered versions for which no rollout has been opened yet."""
    trained: Training | None = None
    """The newest training; its retraining may be under way still, or have failed after it."""
    completed: Training | None = None
    """The newest training whose retraining has ended, whatever the verdict."""
    request: Request | None = None
    """The open request; a model has one at most."""
    requests: int = 0
    """How many there were."""
    failures: int = 0
    """Failed retrainings since the last one that ended."""
    failed_at: datetime | None = None
    """When the last of them failed."""
    last_entry: datetime | None = None
    retired: tuple[int, ...] = ()
    """Versions whose training data have lost rows since; one in production answers on until another replaces it, but
    no candidate has to beat it, and nothing goes back to it."""

    @property
    def last_cut(self) -> datetime | None:
        """Data cut of the newest training (UTC)."""
        return self.trained.cut if self.trained else None

    @property
    def baseline(self) -> str:
        """What a candidate has to beat: ``agents@v3`` or ``base``."""
        return self.production.name if self.production and self.production.version not in self.retired else BASE

    @property
    def way_back(self) -> ModelVersion | None:
        """Where a roll-back of the version in production leads; None: to the base model."""
        known = (one for one in reversed(self.former) if one is None or one.version not in self.retired)
        return next(known, None)

    def version(self, number: int) -> ModelVersion | None:
        """The registered version with this number."""
        return next((version for version in self.versions if version.version == number), None)

"""The state of a model at one instant: versions, production, rollout, training and request.

``models.registry.fold`` computes it from the model's chain in the ledger.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from models.types import BASE, Cause, ModelVersion


@dataclass(frozen=True, kw_only=True, slots=True)
class Rollout:
    """The open rollout of a candidate."""

    version: int
    baseline: str
    """``agents@v3`` or ``base``."""
    opened: datetime
    key: str
    """Key of the entry that opened it."""
    shadow_passed: datetime | None = None
    """When its shadow let the candidate go on to the users."""
    share: float = 0.0
    """Share of the users whose requests the candidate answers (0..1); 0 during the shadow test."""
    began: datetime | None = None
    """When the candidate got its first share of users."""
    widened: datetime | None = None
    """When the share last grew."""
    approved: bool = False
    """By a person, for promotion."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Soak:
    """A promoted version under observation: a few users stay with the former version, for comparison."""

    key: str
    """Key of the rollout that promoted it."""
    version: int
    former: ModelVersion | None
    """The version that it replaced; None: the base model."""
    share: float
    """Share of the users whose requests the promoted version answers."""
    began: datetime
    """When it got its first share of users, as a candidate."""
    until: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """A retraining that a trigger requested and that has not ended."""

    number: int
    trigger: str
    decision: str
    """Key of the decision in the trigger's chain."""
    reason: str
    by: str
    """The person, if one requested it."""
    requested: datetime
    run: str
    """Name of its run: unique to the request and the lake, so that starting it twice starts one run."""
    inputs: Mapping[str, Any] | None = None
    """What it trains with, as the ledger stores it; None leaves that to the run."""

    @property
    def cause(self) -> Cause:
        return Cause(trigger=self.trigger, reason=self.reason, by=self.by, decision=self.decision, request=self.number)


@dataclass(frozen=True, kw_only=True, slots=True)
class CoveredRequest:
    """A person's request that another training covers; it is made again unless that one ends with a result for it."""

    decision: str
    reason: str
    by: str
    inputs: Mapping[str, Any] | None
    """As of a request."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """A complete training; the triggers measure from it once its retraining has ended, too."""

    cut: datetime
    """Data cut (UTC): rows after it are new."""
    training_set_id: str
    inputs: tuple[str, ...]
    """The pinned versions, such as ``processed.agent_interactions@123``."""
    ended: datetime | None = None
    """When the last retraining with it ended, which may be long after the cut; None: none has."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelState:
    """A model at one instant."""

    model: str
    production: ModelVersion | None = None
    """The version in production; None: the base model."""
    since: datetime | None = None
    """When production last changed; None: never."""
    former: tuple[ModelVersion | None, ...] = ()
    """What was in production before, newest last: the targets of roll-backs."""
    versions: tuple[ModelVersion, ...] = ()
    """Registered versions, oldest first."""
    rollout: Rollout | None = None
    """The open rollout; a model has one at most."""
    soak: Soak | None = None
    """The observation of the version in production after its promotion, while it lasts."""
    waiting: tuple[ModelVersion, ...] = ()
    """Registered versions without a rollout so far."""
    trained: Training | None = None
    """The newest training; its retraining may still run, or have failed after it."""
    completed: Training | None = None
    """The newest training whose retraining has ended, whatever the verdict."""
    request: Request | None = None
    """The open request; a model has one at most."""
    covered: tuple[CoveredRequest, ...] = ()
    """Persons' requests that are kept while another training covers them, oldest first."""
    requests: int = 0
    failures: int = 0
    """Failed retrainings since the last one that ended."""
    failed_at: datetime | None = None
    """When the last of them failed."""
    last_entry: datetime | None = None
    retired: tuple[int, ...] = ()
    """Versions whose training data have lost rows since. One in production stays until another replaces it, but no
    candidate has to beat it and no roll-back leads to it."""

    @property
    def last_cut(self) -> datetime | None:
        """Data cut of the newest training (UTC)."""
        return self.trained.cut if self.trained else None

    @property
    def baseline(self) -> str:
        """What a candidate has to beat: ``agents@v3`` or ``base``."""
        return self.production.name if self.production and self.production.version not in self.retired else BASE

    @property
    def rollback_target(self) -> ModelVersion | None:
        """The version that a roll-back of the one in production leads to; None: the base model."""
        usable = (former for former in reversed(self.former) if former is None or former.version not in self.retired)
        return next(usable, None)

    def version(self, number: int) -> ModelVersion | None:
        return next((version for version in self.versions if version.version == number), None)

"""What a model's ledger says: a pure fold of the chain ``models/<model>``, as of now or of any time.

Two entries are only as good as the state they meet, so the fold judges them and no writer has to hold a lock: a
promotion counts only while the baseline it was judged against is still in production, and a rollout opens only while
none is open. A promotion that came too late stays in the history and only closes its rollout.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from lake.ledger import Entry, Ledger
from models.types import ModelVersion

BASE = "base"
"""The baseline's name where nothing was promoted yet."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rollout:
    """A candidate on its way to the users."""

    version: int
    baseline: str
    """``agents@v3`` or ``base``."""
    opened: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelState:
    """A model as of one instant."""

    model: str
    production: ModelVersion | None = None
    """None: the base model answers."""
    versions: tuple[ModelVersion, ...] = ()
    """Registered versions, oldest first."""
    rollout: Rollout | None = None
    """The open rollout; a model has one at most."""
    waiting: tuple[ModelVersion, ...] = ()
    """Registered versions for which no rollout has been opened yet."""
    last_cut: datetime | None = None
    """Data cut of the newest training (UTC): what came after it is new."""
    last_entry: datetime | None = None

    @property
    def baseline(self) -> str:
        """What a candidate has to beat: ``agents@v3`` or ``base``."""
        return self.production.name if self.production else BASE

    def version(self, number: int) -> ModelVersion | None:
        """The registered version with this number."""
        return next((version for version in self.versions if version.version == number), None)


def chain(model: str) -> str:
    """Name of the model's ledger chain."""
    return f"models/{model}"


def read_state(ledger: Ledger, model: str, at: datetime | None = None) -> ModelState:
    """The model's state as of ``at`` (inclusive; default: now)."""
    return fold(model, ledger.entries(chain(model), until=at))


def fold(model: str, entries: Iterable[Entry]) -> ModelState:
    """The state that these entries, in order, lead to."""
    state = ModelState(model=model)
    for entry in entries:
        state = replace(_step(state, entry), last_entry=entry.time)
    return state


def _step(state: ModelState, entry: Entry) -> ModelState:
    match entry.kind:
        case "trained":
            cut = datetime.fromisoformat(entry.payload["cut"])
            return replace(state, last_cut=max(cut, state.last_cut or cut))
        case "registered":
            version = _version(state.model, entry)
            return replace(state, versions=(*state.versions, version), waiting=(*state.waiting, version))
        case "rollout_opened":
            return _opened(state, entry)
        case "promoted":
            return _promoted(state, entry)
        case "rejected" | "inconclusive":
            return _closed(state, entry.payload["version"])
        case "rolled_back":
            return _rolled_back(state, entry)
    return state


def _version(model: str, entry: Entry) -> ModelVersion:
    fields = entry.payload
    return ModelVersion(model=model, version=fields["version"], path=fields["path"], digest=fields["digest"])


def _opened(state: ModelState, entry: Entry) -> ModelState:
    if state.rollout:
        return state
    number = entry.payload["version"]
    waiting = tuple(version for version in state.waiting if version.version != number)
    rollout = Rollout(version=number, baseline=entry.payload["baseline"], opened=entry.time)
    return replace(state, rollout=rollout, waiting=waiting)


def _promoted(state: ModelState, entry: Entry) -> ModelState:
    number = entry.payload["version"]
    closed = _closed(state, number)
    return replace(closed, production=state.version(number)) if entry.payload["baseline"] == state.baseline else closed


def _rolled_back(state: ModelState, entry: Entry) -> ModelState:
    """``version`` is left and ``baseline`` answers again, whether the rollout was open or done."""
    back = next((version for version in state.versions if version.name == entry.payload["baseline"]), None)
    return replace(_closed(state, entry.payload["version"]), production=back)


def _closed(state: ModelState, number: int) -> ModelState:
    return replace(state, rollout=None) if state.rollout and state.rollout.version == number else state

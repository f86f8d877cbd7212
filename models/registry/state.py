"""What a model's ledger says: a pure fold of the chain ``models/<model>``, as of now or of any time.

Two entries are only as good as the state they meet, so the fold judges them and no writer has to hold a lock: a
promotion counts only while the baseline it was judged against is still in production, and a rollout opens only while
none is open. A promotion that came too late stays in the history and only closes its rollout.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from lake.store.ledger import Entry, Ledger
from models.types import Cause, ModelVersion

BASE = "base"
"""The baseline's name where nothing was promoted yet."""


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


def chain(model: str) -> str:
    """Name of the model's ledger chain."""
    return f"models/{model}"


def read_state(ledger: Ledger, model: str, at: datetime | None = None) -> ModelState:
    """The model's state as of ``at`` (inclusive; default: now)."""
    entries = ledger.entries(chain(model), until=at)
    known = _FOLDED.get(model)
    goes_on = known and known[0].seq < len(entries) and entries[known[0].seq] == known[0]
    state = fold(model, entries[known[0].seq + 1 :], known[1]) if known and goes_on else fold(model, entries)
    if entries and at is None:
        _FOLDED[model] = entries[-1], state
    return state


_FOLDED: dict[str, tuple[Entry, ModelState]] = {}
"""The last entry that was folded, and the state: an entry holds the digest of the one before, so it stands for all."""


def fold(model: str, entries: Iterable[Entry], state: ModelState | None = None) -> ModelState:
    """The state that these entries, in order, lead to, from ``state`` or the beginning."""
    state = state or ModelState(model=model)
    for entry in entries:
        state = replace(_step(state, entry), last_entry=entry.time)
    return state


def _step(state: ModelState, entry: Entry) -> ModelState:
    match entry.kind:
        case "trained":
            return _trained(state, entry)
        case "registered":
            version = _version(state.model, entry)
            return replace(state, versions=(*state.versions, version), waiting=(*state.waiting, version))
        case "rollout_opened":
            return _opened(state, entry)
        case "canary_widened" | "promotion_approved":
            return _moved(state, entry)
        case "soak_ended":
            return _soaked(state, entry)
        case "promoted":
            return _promoted(state, entry)
        case "rejected" | "inconclusive":
            return _closed(state, entry.payload["version"])
        case "rolled_back":
            return _rolled_back(state, entry)
    return _asked(state, entry)


def _asked(state: ModelState, entry: Entry) -> ModelState:
    """What requests and retrainings, as a whole, make of the state."""
    match entry.kind:
        case "retraining_requested":
            return _requested(state, entry)
        case "retraining_closed":
            return _completed(_answered(state, entry), entry)
        case "retraining_failed" if entry.payload.get("counts", True):
            return _answered(replace(state, failures=state.failures + 1, failed_at=entry.time), entry)
        case "request_abandoned":
            return _answered(replace(state, failures=state.failures + 1, failed_at=entry.time), entry)
        case "request_ended":
            return _answered(state, entry)
        case "retired":
            return _retired(state, entry.payload["version"])
    return state


def _requested(state: ModelState, entry: Entry) -> ModelState:
    fields = entry.payload
    request = Request(
        number=fields["request"],
        trigger=fields["trigger"],
        decision=fields["decision"],
        reason=fields["reason"],
        by=fields["by"],
        requested=entry.time,
        run=f"retrain-{state.model}-{fields['request']}-{entry.nonce[:8]}",
    )
    return replace(state, request=request, requests=state.requests + 1)


def _answered(state: ModelState, entry: Entry) -> ModelState:
    """The request that led to this entry is done; one that came after it is not."""
    answered = state.request and state.request.number in (entry.payload.get("request"), *entry.payload.get("also", ()))
    return replace(state, request=None) if answered else state


def _completed(state: ModelState, entry: Entry) -> ModelState:
    completed = replace(state.trained, ended=entry.time) if state.trained else None
    return replace(state, completed=completed, failures=0, failed_at=None)


def _trained(state: ModelState, entry: Entry) -> ModelState:
    fields = entry.payload
    training = Training(
        cut=datetime.fromisoformat(fields["cut"]),
        training_set_id=fields["training_set_id"],
        inputs=tuple(fields["inputs"]),
    )
    newest = state.trained is None or training.cut >= state.trained.cut
    return replace(state, trained=training) if newest else state


def _version(model: str, entry: Entry) -> ModelVersion:
    fields = entry.payload
    return ModelVersion(model=model, version=fields["version"], path=fields["path"], digest=fields["digest"])


def _opened(state: ModelState, entry: Entry) -> ModelState:
    if state.rollout:
        return state
    number = entry.payload["version"]
    waiting = tuple(version for version in state.waiting if version.version != number)
    rollout = Rollout(version=number, baseline=entry.payload["baseline"], opened=entry.time, key=entry.key)
    return replace(state, rollout=rollout, waiting=waiting)


def _promoted(state: ModelState, entry: Entry) -> ModelState:
    number = entry.payload["version"]
    closed = _closed(state, number)
    if entry.payload["baseline"] != state.baseline or number in state.retired:
        return closed
    former = (*state.former, state.production)
    promoted = replace(closed, production=state.version(number), since=entry.time, former=former)
    return replace(promoted, soak=_soak(state, entry))


def _soak(state: ModelState, entry: Entry) -> Soak | None:
    """The watch that begins with this promotion; None where nobody is held back to compare with."""
    watch = entry.payload.get("soak")
    if not watch:
        return None
    return Soak(
        key=watch["rollout"],
        version=entry.payload["version"],
        former=state.production,
        share=watch["share"],
        began=(state.rollout.began if state.rollout else None) or entry.time,
        until=entry.time + timedelta(hours=watch["hours"]),
    )


def _moved(state: ModelState, entry: Entry) -> ModelState:
    """The open rollout reaches more users, or may; a share never shrinks but by a roll-back."""
    rollout = state.rollout
    if rollout is None or entry.payload["rollout"] != rollout.key:
        return state
    if entry.kind == "promotion_approved":
        return replace(state, rollout=replace(rollout, approved=True))
    share = max(rollout.share, entry.payload["share"])
    widened = replace(rollout, share=share, began=rollout.began or entry.time, widened=entry.time)
    return replace(state, rollout=widened)


def _soaked(state: ModelState, entry: Entry) -> ModelState:
    return replace(state, soak=None) if state.soak and state.soak.key == entry.payload["rollout"] else state


def _rolled_back(state: ModelState, entry: Entry) -> ModelState:
    """``version`` is left and ``baseline`` answers again, whether the rollout was open or done.

    One that meets neither the open rollout nor the version in production came too late and changes nothing.
    """
    number = entry.payload["version"]
    if state.rollout and state.rollout.version == number:
        return replace(state, rollout=None)
    if state.production is None or state.production.version != number:
        return state
    back = next((version for version in state.versions if version.name == entry.payload["baseline"]), None)
    if back and back.version in state.retired:
        back = state.way_back
    before = state.former[: state.former.index(back)] if back in state.former else ()
    return replace(state, production=back, since=entry.time, former=before, soak=None)


def _closed(state: ModelState, number: int) -> ModelState:
    return replace(state, rollout=None) if state.rollout and state.rollout.version == number else state


def _retired(state: ModelState, number: int) -> ModelState:
    """It waits for no rollout any more, and ends the one that it is in."""
    waiting = tuple(version for version in state.waiting if version.version != number)
    return replace(_closed(state, number), waiting=waiting, retired=(*state.retired, number))

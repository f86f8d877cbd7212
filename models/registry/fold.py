"""A model's state, folded from its chain ``models/<model>`` in the ledger, as of now or of an earlier instant.

A pure function of the entries. What some entries mean depends on the state before them, so the fold decides it and no
writer needs a lock: a promotion counts only while the baseline that it was judged against is still in production, and
a rollout opens only while none is open. A promotion that came too late stays in the history and only closes its
rollout.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from lake.store.ledger import Entry, Ledger
from models.registry import kinds
from models.registry.state import CoveredRequest, ModelState, Request, Rollout, Soak, Training
from models.types import ModelVersion, Outcome


def read_state(ledger: Ledger, model: str, at: datetime | None = None) -> ModelState:
    """The model's state as of ``at`` (inclusive; default: now)."""
    entries = ledger.entries(kinds.model_chain(model), until=at)
    last, folded = _FOLDED.get(model, (None, None))
    if last and last.seq < len(entries) and entries[last.seq] == last:
        state = fold(model, entries[last.seq + 1 :], folded)
    else:
        state = fold(model, entries)
    if entries and at is None:
        _FOLDED[model] = entries[-1], state
    return state


_FOLDED: dict[str, tuple[Entry, ModelState]] = {}
"""By model: the last folded entry and the state. An entry has the digest of the one before, so it identifies all."""


def fold(model: str, entries: Iterable[Entry], state: ModelState | None = None) -> ModelState:
    """The state after these entries, in order, starting from ``state`` or from an empty one."""
    state = state or ModelState(model=model)
    for entry in entries:
        step = _STEPS.get(entry.kind)
        state = replace(step(state, entry) if step else state, last_entry=entry.time)
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
        inputs=fields.get("inputs"),
    )
    covered = tuple(kept for kept in state.covered if kept.decision != request.decision)
    return replace(state, request=request, requests=state.requests + 1, covered=covered)


def _kept(state: ModelState, entry: Entry) -> ModelState:
    fields = entry.payload
    kept = CoveredRequest(
        decision=fields["decision"], reason=fields["reason"], by=fields["by"], inputs=fields.get("inputs")
    )
    return replace(state, covered=(*state.covered, kept))


def _served(state: ModelState, entry: Entry) -> ModelState:
    """Drop the covered requests for which this end of the open request is the result: they have the same inputs."""
    if state.request is None or not _leads_to(state.request, entry):
        return state
    return replace(state, covered=tuple(kept for kept in state.covered if kept.inputs != state.request.inputs))


def _ended(state: ModelState, entry: Entry) -> ModelState:
    """A person's request whose run found another one training is kept; one for which nothing is new has its result."""
    if entry.payload["outcome"] != Outcome.COVERED.value:
        return _request_done(_served(state, entry), entry)
    request = state.request
    if request is None or not request.by or not _leads_to(request, entry):
        return _request_done(state, entry)
    kept = CoveredRequest(decision=request.decision, reason=request.reason, by=request.by, inputs=request.inputs)
    return replace(state, request=None, covered=(*state.covered, kept))


def _request_done(state: ModelState, entry: Entry) -> ModelState:
    """Close the request that led to this entry; a later one stays open."""
    return replace(state, request=None) if state.request and _leads_to(state.request, entry) else state


def _leads_to(request: Request, entry: Entry) -> bool:
    return request.number in (entry.payload.get("request"), *entry.payload.get("also", ()))


def _completed(state: ModelState, entry: Entry) -> ModelState:
    completed = replace(state.trained, ended=entry.time) if state.trained else None
    return replace(_request_done(_served(state, entry), entry), completed=completed, failures=0, failed_at=None)


def _failed(state: ModelState, entry: Entry) -> ModelState:
    if not entry.payload.get("counts", True):
        return state
    return _request_done(replace(state, failures=state.failures + 1, failed_at=entry.time), entry)


def _trained(state: ModelState, entry: Entry) -> ModelState:
    fields = entry.payload
    training = Training(
        cut=datetime.fromisoformat(fields["cut"]),
        training_set_id=fields["training_set_id"],
        inputs=tuple(fields["inputs"]),
    )
    newest = state.trained is None or training.cut >= state.trained.cut
    return replace(state, trained=training) if newest else state


def _registered(state: ModelState, entry: Entry) -> ModelState:
    fields = entry.payload
    version = ModelVersion(model=state.model, version=fields["version"], path=fields["path"], digest=fields["digest"])
    return replace(state, versions=(*state.versions, version), waiting=(*state.waiting, version))


def _opened(state: ModelState, entry: Entry) -> ModelState:
    if state.rollout:
        return state
    number = entry.payload["version"]
    rollout = Rollout(version=number, baseline=entry.payload["baseline"], opened=entry.time, key=entry.key)
    return replace(state, rollout=rollout, waiting=_without(state.waiting, number))


def _without(versions: tuple[ModelVersion, ...], number: int) -> tuple[ModelVersion, ...]:
    return tuple(version for version in versions if version.version != number)


def _promoted(state: ModelState, entry: Entry) -> ModelState:
    number = entry.payload["version"]
    closed = _closed(state, entry)
    if entry.payload["baseline"] != state.baseline or number in state.retired:
        return closed
    former = (*state.former, state.production)
    promoted = replace(closed, production=state.version(number), since=entry.time, former=former)
    return replace(promoted, soak=_soak(state, entry))


def _soak(state: ModelState, entry: Entry) -> Soak | None:
    """The observation after this promotion; None where no users stay with the former version."""
    soak = entry.payload.get("soak")
    if not soak:
        return None
    return Soak(
        key=soak["rollout"],
        version=entry.payload["version"],
        former=state.production,
        share=soak["share"],
        began=(state.rollout.began if state.rollout else None) or entry.time,
        until=entry.time + timedelta(hours=soak["hours"]),
    )


def _advanced(state: ModelState, entry: Entry) -> ModelState:
    """The open rollout's share grows, or its promotion is approved. Only a roll-back reduces a share."""
    rollout = state.rollout
    if rollout is None or entry.payload["rollout"] != rollout.key:
        return state
    if entry.kind == kinds.SHADOW_PASSED:
        return replace(state, rollout=replace(rollout, shadow_passed=rollout.shadow_passed or entry.time))
    if entry.kind == kinds.PROMOTION_APPROVED:
        return replace(state, rollout=replace(rollout, approved=True))
    share = max(rollout.share, entry.payload["share"])
    widened = replace(rollout, share=share, began=rollout.began or entry.time, widened=entry.time)
    return replace(state, rollout=widened)


def _soak_ended(state: ModelState, entry: Entry) -> ModelState:
    return replace(state, soak=None) if state.soak and state.soak.key == entry.payload["rollout"] else state


def _rolled_back(state: ModelState, entry: Entry) -> ModelState:
    """Roll back from ``version`` to ``baseline``, during the rollout or after it.

    An entry that concerns neither the open rollout nor the version in production came too late and changes nothing.
    """
    number = entry.payload["version"]
    if state.rollout and state.rollout.version == number:
        return replace(state, rollout=None)
    if state.production is None or state.production.version != number:
        return state
    back = next((version for version in state.versions if version.name == entry.payload["baseline"]), None)
    if back and back.version in state.retired:
        back = state.rollback_target
    before = state.former[: state.former.index(back)] if back in state.former else ()
    return replace(state, production=back, since=entry.time, former=before, soak=None)


def _closed(state: ModelState, entry: Entry) -> ModelState:
    closes = state.rollout and state.rollout.version == entry.payload["version"]
    return replace(state, rollout=None) if closes else state


def _retired(state: ModelState, entry: Entry) -> ModelState:
    """Retire a version: it waits for no rollout any more, and its open one ends."""
    number = entry.payload["version"]
    waiting = _without(state.waiting, number)
    return replace(_closed(state, entry), waiting=waiting, retired=(*state.retired, number))


_STEPS: dict[str, Callable[[ModelState, Entry], ModelState]] = {
    kinds.TRAINED: _trained,
    kinds.REGISTERED: _registered,
    kinds.ROLLOUT_OPENED: _opened,
    kinds.SHADOW_PASSED: _advanced,
    kinds.CANARY_WIDENED: _advanced,
    kinds.PROMOTION_APPROVED: _advanced,
    kinds.SOAK_ENDED: _soak_ended,
    kinds.PROMOTED: _promoted,
    kinds.REJECTED: _closed,
    kinds.INCONCLUSIVE: _closed,
    kinds.ROLLED_BACK: _rolled_back,
    kinds.RETRAINING_REQUESTED: _requested,
    kinds.RETRAINING_CLOSED: _completed,
    kinds.RETRAINING_FAILED: _failed,
    kinds.REQUEST_ABANDONED: _failed,
    kinds.REQUEST_COVERED: _kept,
    kinds.REQUEST_ENDED: _ended,
    kinds.RETIRED: _retired,
}
"""What each kind of entry changes; the others change nothing."""

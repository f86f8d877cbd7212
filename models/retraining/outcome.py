"""How a retraining ends: the entries that its stages write into the model's chain, and the verdict that they give."""

import logging
from dataclasses import asdict, dataclass, replace

from errors import DataError
from lake.lake import Lake
from lake.maintenance.expiry import COUNTED_FROM
from lake.store.ledger import Entry
from models.registry import kinds
from models.registry.fold import read_state
from models.registry.training_lease import Claim, lease_holder, release
from models.retraining.pin import Pinned
from models.serialize import from_plain, to_plain
from models.types import Cause, Outcome, TrainedAdapter, Verdict

log = logging.getLogger("fuelline.retraining")


@dataclass(frozen=True, kw_only=True, slots=True)
class RunEnd:
    """How a run ended."""

    outcome: str = ""
    """``succeeded``, ``failed`` or ``aborted``."""
    stage: str = ""
    """The task that failed; empty where it is not known."""
    attempts: int = 0
    """How often that task was tried; 0: not known."""
    error: str = ""
    """First line of its error, without users' text."""


def record_trained(lake: Lake, adapter: TrainedAdapter, retraining: str, cause: Cause) -> Entry:
    """Record a complete training of the retraining with this key: rows after its data cut are new from then on."""
    data = adapter.training_set
    payload = {
        "training_key": adapter.training_key,
        "training_set_id": data.training_set_id,
        "cut": data.cut.isoformat(),
        "inputs": [str(version) for version in (*data.inputs, data.table)],
        "adapter_digest": adapter.digest,
        "path": adapter.path,
        "steps": adapter.steps,
        "train_loss": adapter.train_loss,
        "base_digest": adapter.base_digest,
        "retraining": retraining,
        "cause": asdict(cause),
    }
    key = f"trained:{adapter.training_key}"
    return lake.ledger.append(kinds.model_chain(adapter.model), kinds.TRAINED, key, payload)


def close(lake: Lake, pinned: Pinned, verdict: Verdict, claim: Claim) -> Verdict:
    """Record how the retraining ended, so that the same inputs are not trained on again; release the training lease."""
    chain, key = kinds.model_chain(pinned.model), kinds.closed_key(pinned.retraining)
    resumed = [e.payload for e in lake.ledger.entries(chain, kind=kinds.RETRAINING_RESUMED)]
    also = [int(payload["request"]) for payload in resumed if payload["retraining"] == pinned.retraining]
    payload = to_plain(verdict) | {"request": pinned.cause.request, "also": also}
    lake.ledger.append(chain, kinds.RETRAINING_CLOSED, key, payload)
    release(lake, claim.model, claim.holder)
    return verdict


def keep_counted_snapshot(lake: Lake, pinned: Pinned) -> None:
    """Protect from expiry the snapshot that the triggers count new rows from once this retraining has ended."""
    lake.tables.tag(pinned.interactions, f"{COUNTED_FROM}{pinned.model}", move=True)


def no_work(lake: Lake, pinned: Pinned, cause: Cause, claim: Claim) -> Verdict:
    """The verdict where nothing is trained: another run is training, or the same retraining has ended before."""
    verdict = _repeated(lake, pinned, claim) if claim.granted else _covered(lake, claim)
    if cause.request:
        payload = {"request": cause.request, "outcome": verdict.outcome.value, "reason": verdict.reason}
        key = f"request-ended:{cause.request}"
        lake.ledger.append(kinds.model_chain(pinned.model), kinds.REQUEST_ENDED, key, payload)
    return verdict


def record_failure(lake: Lake, model: str, cause: Cause, end: RunEnd, *, execution: str) -> Entry:
    """Record that a retraining failed or was aborted, and release its lease.

    Of the error only a line without users' text is kept. A run that neither holds the lease nor belongs
    to the open request does not count as a failure of the model.
    """
    state, lease = read_state(lake.ledger, model), lease_holder(lake, model)
    fence = lease.fence if lease and lease.holder == execution else 0
    requested = state.request is not None and state.request.number == cause.request
    payload = {
        "stage": end.stage,
        "attempts": end.attempts,
        "error": end.error,
        "outcome": end.outcome or "failed",
        "execution": execution,
        "baseline": state.baseline,
        "request": cause.request,
        "counts": fence > 0 or requested,
    }
    key = f"failed:{execution}:{fence}:{cause.request}"
    entry = lake.ledger.append(kinds.model_chain(model), kinds.RETRAINING_FAILED, key, payload)
    release(lake, model, execution)
    return entry


def _repeated(lake: Lake, pinned: Pinned, claim: Claim) -> Verdict:
    """The verdict of the same retraining, which has ended before."""
    release(lake, claim.model, claim.holder)
    ended = lake.ledger.find(kinds.model_chain(pinned.model), kinds.closed_key(pinned.retraining))
    if ended is None:
        raise DataError(f"retraining {pinned.retraining} of {pinned.model} has not ended yet")
    before = from_plain(Verdict, ended.payload)
    outcome, why = _final_outcome(lake, before)
    reason = f"Nothing new since {pinned.cut.isoformat()}; the last time: {outcome.replace('_', ' ')}. {why}"
    return replace(before, outcome=Outcome.NOTHING_NEW, reason=reason, entry=ended.digest)


def _final_outcome(lake: Lake, verdict: Verdict) -> tuple[str, str]:
    """How a retraining ended and why; where its rollout has ended since, how that ended."""
    entries = reversed(lake.ledger.entries(kinds.model_chain(verdict.model)))
    ends = (entry for entry in entries if entry.kind in kinds.CLOSING)
    closed = next((entry for entry in ends if entry.payload["version"] == verdict.version), None)
    if verdict.outcome is Outcome.ROLLING_OUT and closed:
        return closed.kind, str(closed.payload["reason"])
    return verdict.outcome.value, verdict.reason


def _covered(lake: Lake, claim: Claim) -> Verdict:
    lease = lease_holder(lake, claim.model)
    run = f"run {lease.holder}, whose lease lasts until {lease.expires:%Y-%m-%d %H:%M:%S} UTC" if lease else "a run"
    reason = f"Another training of {claim.model} is under way: {run}. Nothing was started; try again after it."
    log.warning("%s", reason)
    return Verdict(model=claim.model, outcome=Outcome.COVERED, version=0, reason=reason, entry="")

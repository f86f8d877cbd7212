"""Make one training of many decisions: a request in the model's chain, which one run takes up.

The ledger's conditional put decides between triggers that fire at the same second: the number of the request is its
key, so one of them creates it and it covers the others. After failed trainings the next request waits, longer each
time. Every check starts the run of a request that is still open, so a start that failed is repeated within the hour,
with the inputs of the request and not with those of the check.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from lake.lake import Lake
from models.registry import kinds
from models.registry.fold import read_state
from models.registry.state import ModelState, Request
from models.registry.training_lease import lease_holder
from models.serialize import from_plain, to_plain
from models.spec import RetrainingInputs
from models.triggers.rules import RetryBackoff, Trigger

KEPT = (
    "this request is kept with its profile and reason and starts by itself at the first check after that training "
    "(every hour on a cluster), unless it ends with a result for the same inputs"
)
"""What a person is answered whose request is covered."""


class RequestOutcome(Enum):
    """What a trigger's request for a training leads to."""

    STARTED = "started"
    COVERED = "covered"
    BACKING_OFF = "backing_off"


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestResult:
    """The outcome, and why."""

    outcome: RequestOutcome
    detail: str
    request: int = 0
    """Number of the request that was made; 0: none."""


def request_training(
    lake: Lake,
    model: str,
    trigger: Trigger,
    decision: str,
    reason: str,
    patience: RetryBackoff,
    *,
    by: str = "",
    inputs: RetrainingInputs | None = None,
) -> RequestResult:
    """Request a training of a model. Repeated for the same decision, it returns the same request.

    ``decision`` is its key, ``reason`` one sentence with the numbers, ``by`` the person who asks; a person
    (``Trigger.HAND``) does not have to wait after failures. ``inputs`` of None leave them to the run that takes the
    request up.
    """
    chain = kinds.model_chain(model)
    for entry in lake.ledger.entries(chain, kind=kinds.RETRAINING_REQUESTED):
        if entry.payload["decision"] == decision:
            return _started(int(entry.payload["request"]))
    plain = {"inputs": to_plain(inputs)} if inputs else {}
    fields = {"trigger": trigger.value, "decision": decision, "reason": reason, "by": by, **plain}
    state, now = read_state(lake.ledger, model), lake.ledger.clock()
    if lease := lease_holder(lake, model):
        run = f"run {lease.holder}, whose lease lasts until {lease.expires:%Y-%m-%d %H:%M:%S} UTC"
        return _covered(lake, model, fields, f"by the training under way, {run}")
    if state.request:
        return _covered(lake, model, fields, _request_text(state.request.number, state.request.trigger))
    until = state.failed_at + patience.wait(state.failures) if state.failed_at else now
    if until > now and trigger is not Trigger.HAND:
        failed = f"{state.failures} failed training{'s' if state.failures > 1 else ''} in a row"
        detail = f"until {until:%Y-%m-%d %H:%M} UTC, after {failed}"
        return RequestResult(outcome=RequestOutcome.BACKING_OFF, detail=detail)
    made = _make(lake, state, fields)
    number = made["request"]
    if made["decision"] != decision:
        return _covered(lake, model, fields, _request_text(number, made["trigger"]))
    return _started(number)


def renew_covered_request(lake: Lake, model: str) -> None:
    """Make the oldest covered request again, with its own inputs and reason, where no request is open."""
    state = read_state(lake.ledger, model)
    if state.covered and not state.request:
        kept = state.covered[0]
        plain = {"inputs": kept.inputs} if kept.inputs else {}
        fields = {"trigger": Trigger.HAND.value, "decision": kept.decision, "reason": kept.reason, "by": kept.by}
        _make(lake, state, fields | plain)


def request_to_start(lake: Lake, model: str) -> Request | None:
    """The open request, if no run holds the model's lease: its run has not started, or was lost."""
    request = read_state(lake.ledger, model).request
    return None if lease_holder(lake, model) else request


def request_inputs(request: Request) -> RetrainingInputs | None:
    """What the request was made with; None where it leaves the inputs open."""
    return from_plain(RetrainingInputs, request.inputs) if request.inputs else None


def abandon_request(lake: Lake, model: str, request: Request, reason: str) -> None:
    """End a request whose run ended without a result; it counts as a failure. Nothing happens if it has ended."""
    if read_state(lake.ledger, model).request == request:
        key, payload = f"request-abandoned:{request.number}", {"request": request.number, "reason": reason}
        lake.ledger.append(kinds.model_chain(model), kinds.REQUEST_ABANDONED, key, payload)


def _started(number: int) -> RequestResult:
    return RequestResult(outcome=RequestOutcome.STARTED, detail=f"request {number}", request=number)


def _make(lake: Lake, state: ModelState, fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """Append the next request; of two at once the first one is kept. Returns the payload of the one that is kept."""
    number = state.requests + 1
    chain, key = kinds.model_chain(state.model), kinds.request_key(number)
    return lake.ledger.append(chain, kinds.RETRAINING_REQUESTED, key, {"request": number, **fields}).payload


def _covered(lake: Lake, model: str, fields: Mapping[str, Any], by: str) -> RequestResult:
    """A covered request. A person's is kept; a rule finds the same again at its next check."""
    if fields["trigger"] == Trigger.HAND.value:
        key = f"request-covered:{fields['decision']}"
        lake.ledger.append(kinds.model_chain(model), kinds.REQUEST_COVERED, key, fields)
        by += f"; {KEPT}"
    return RequestResult(outcome=RequestOutcome.COVERED, detail=by)


def _request_text(number: int, trigger: str) -> str:
    return f"by request {number} of {trigger.replace('_', ' ')}"

"""From many decisions to one training: a request in the model's chain, taken by whoever comes first.

The conditional put of the ledger decides between triggers that fire in one second: the request's number is its key, so
one of them makes it and the others are covered by it. Failed trainings make the next request wait, longer each time.
Whoever looks next starts the run of a request that is still open: a start that failed is made good within the hour,
with the inputs that the request was made with, and not with the looker's own.
"""

from dataclasses import dataclass
from datetime import timedelta
from enum import Enum

from lake.lake import Lake
from models.registry import kinds
from models.registry.fold import read_state
from models.registry.state import ModelState, Request
from models.registry.training_lease import holder_of
from models.serialize import from_plain, to_plain
from models.spec import RetrainingInputs
from models.triggers.rules import Patience, Trigger


class Answer(Enum):
    """What a request for a training comes to."""

    STARTED = "started"
    COVERED = "covered"
    BACKING_OFF = "backing_off"


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """The answer, and why."""

    answer: Answer
    detail: str
    request: int = 0
    """Number of the request that was made."""


def ask(
    lake: Lake,
    model: str,
    trigger: Trigger,
    decision: str,
    reason: str,
    patience: Patience,
    *,
    by: str = "",
    inputs: RetrainingInputs | None = None,
) -> Asked:
    """Ask for a training of a model.

    Args:
        lake: where the ledger is.
        model: which.
        trigger: who asks.
        decision: key of the decision; asked again for the same one, the same request is the answer.
        reason: one sentence with the numbers.
        patience: how to bear with failures. A person does not have to wait.
        by: the person, where it is one.
        inputs: what to train with; None leaves it to whoever starts the run.
    """
    if number := _own(lake, model, decision):
        return Asked(answer=Answer.STARTED, detail=f"request {number}", request=number)
    if held := holder_of(lake, model):
        return Asked(answer=Answer.COVERED, detail=f"by the training under way, run {held.holder}")
    state = read_state(lake.ledger, model)
    if state.request:
        return _covered(state.request.number, state.request.trigger)
    if (rest := _rest(lake, state, patience)) > timedelta(0) and trigger is not Trigger.HAND:
        until = lake.ledger.clock() + rest
        failed = f"{state.failures} failed training{'s' if state.failures > 1 else ''} in a row"
        return Asked(answer=Answer.BACKING_OFF, detail=f"until {until:%Y-%m-%d %H:%M} UTC, after {failed}")
    number = state.requests + 1
    payload = {"request": number, "trigger": trigger.value, "decision": decision, "reason": reason, "by": by}
    payload |= {"inputs": to_plain(inputs)} if inputs else {}
    made = lake.ledger.append(
        kinds.model_chain(model), kinds.RETRAINING_REQUESTED, kinds.request_key(number), payload
    ).payload
    if made["decision"] != decision:
        return _covered(number, made["trigger"])
    return Asked(answer=Answer.STARTED, detail=f"request {number}", request=number)


def to_start(lake: Lake, model: str) -> Request | None:
    """The open request, where no run holds the model: its run has still to be started, or was lost."""
    request = read_state(lake.ledger, model).request
    return None if holder_of(lake, model) else request


def inputs_of(lake: Lake, model: str, request: Request) -> RetrainingInputs | None:
    """What the request was made with; None where whoever made it left that open."""
    entry = lake.ledger.find(kinds.model_chain(model), kinds.request_key(request.number))
    assert entry is not None, "a request is an entry"
    plain = entry.payload.get("inputs")
    return from_plain(RetrainingInputs, plain) if plain else None


def give_up(lake: Lake, model: str, request: Request, reason: str) -> None:
    """End a request whose run is over and has said nothing; it counts as a failure. No change if it has ended."""
    state = read_state(lake.ledger, model)
    if state.request == request:
        payload = {"request": request.number, "reason": reason}
        lake.ledger.append(
            kinds.model_chain(model), kinds.REQUEST_ABANDONED, kinds.request_abandoned_key(request.number), payload
        )


def _own(lake: Lake, model: str, decision: str) -> int:
    requested = lake.ledger.entries(kinds.model_chain(model), kind=kinds.RETRAINING_REQUESTED)
    return next((int(e.payload["request"]) for e in requested if e.payload["decision"] == decision), 0)


def _covered(number: int, trigger: str) -> Asked:
    return Asked(answer=Answer.COVERED, detail=f"by request {number} of {trigger.replace('_', ' ')}")


def _rest(lake: Lake, state: ModelState, patience: Patience) -> timedelta:
    """How much of the wait after the last failure is left."""
    if state.failed_at is None:
        return timedelta(0)
    return state.failed_at + patience.wait(state.failures) - lake.ledger.clock()

"""Decisions of the triggers: what a rule found, what came of it, and the versions it read.

Every check writes one entry into the chain ``triggers/<model>/<trigger>``, whether it fired or not, so the ledger
answers "why did it not retrain on Wednesday?" as exactly as "why did it on Tuesday?". The entry is written last; until
then the request in the model's chain has the key of the decision, so a check that died between the two continues with
its own request.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from lake.lake import Lake
from lake.store.ledger import Entry
from models.registry.fold import read_state
from models.registry.kinds import trigger_chain
from models.serialize import to_plain
from models.spec import RetrainingInputs
from models.triggers.findings import find
from models.triggers.history import History
from models.triggers.requests import RequestOutcome, request_training
from models.triggers.rules import TRIGGERS, ManualRule, RetryBackoff, Rule, Trigger
from models.triggers.window import FindingStatus, RuleCheck

MEASURED = (Trigger.ERROR_RATE, Trigger.DRIFT, Trigger.FEEDBACK)
"""Triggers that compare with a reference."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """A decision as the tasks pass it on; the ledger has its evidence."""

    model: str
    trigger: str
    outcome: str
    """``quiet``, ``not_enough``, ``started``, ``covered`` or ``backing_off``."""
    reason: str
    key: str
    """In the chain ``triggers/<model>/<trigger>``."""
    request: int = 0
    """Number of the request that it made in the model's chain; 0: none."""
    by: str = ""
    """The person, for the trigger ``hand``."""

    @property
    def fired(self) -> bool:
        """Whether the rule fired, whatever came of it."""
        return self.outcome in {outcome.value for outcome in RequestOutcome}


def decide(
    lake: Lake,
    history: History,
    model: str,
    rule: Rule,
    *,
    end: datetime,
    every: timedelta,
    patience: RetryBackoff,
    key: str = "",
    inputs: RetrainingInputs | None = None,
) -> Decision:
    """Check a rule once, request a training if it fires, and record the decision. Repeated, it reads the record.

    Another rule makes another decision. The window ends at ``end`` (UTC); rows of later hours belong to the next check,
    after ``every``. ``key`` names the check where ``end`` is no scheduled time: for a person, the run's name. A
    training that this requests is made with ``inputs``; None leaves them to the run.
    """
    trigger = TRIGGERS[type(rule)]
    digest = hashlib.sha256(json.dumps(asdict(rule), sort_keys=True).encode()).hexdigest()[:12]
    chain = trigger_chain(model, trigger.value)
    key = f"{key or f'until:{end.isoformat()}'}:{digest}"
    if known := lake.ledger.find(chain, key):
        return _decision(model, trigger, known)
    training = read_state(lake.ledger, model).completed
    onset = _onset(lake, model, training.cut) if training else None
    finding = find(rule, history, RuleCheck(end=end, interval=every, last_training=training, onset=onset))
    fired, request = finding.status is FindingStatus.FIRED, None
    by = rule.by if isinstance(rule, ManualRule) else ""
    if fired:
        request = request_training(lake, model, trigger, key, finding.reason, patience, by=by, inputs=inputs)
    payload = {
        "fired": fired,
        "reason": finding.reason,
        "detail": request.detail if request else "",
        "request": request.request if request else 0,
        "by": by,
        "rule": to_plain(rule),
        "window": {"start": finding.start.isoformat() if finding.start else None, "end": end.isoformat()},
        "onset": finding.onset.isoformat() if finding.onset else None,
        "since": training.cut.isoformat() if training else None,
        "versions": history.versions(),
        "evidence": finding.evidence,
    }
    outcome = request.outcome.value if request else finding.status.value
    return _decision(model, trigger, lake.ledger.append(chain, outcome, key, payload))


def _onset(lake: Lake, model: str, cut: datetime) -> datetime | None:
    """When the newest cause began that the training with this data cut covers.

    A check found it before that training was complete, and it began before the cut. Of any trigger: what makes calls
    fail also shifts features and lowers ratings, and is one cause.
    """
    fired = [
        entry.payload
        for trigger in MEASURED
        for outcome in RequestOutcome
        for entry in lake.ledger.entries(trigger_chain(model, trigger.value), kind=outcome.value)
    ]
    covered = [p["onset"] for p in fired if p["onset"] and datetime.fromisoformat(p["since"]) < cut]
    return max((onset for text in covered if (onset := datetime.fromisoformat(text)) < cut), default=None)


def _decision(model: str, trigger: Trigger, entry: Entry) -> Decision:
    fields = entry.payload
    words = {RequestOutcome.COVERED.value: " Covered", RequestOutcome.BACKING_OFF.value: " Backing off"}
    detail = f"{words[entry.kind]} {fields['detail']}." if entry.kind in words else ""
    return Decision(
        model=model,
        trigger=trigger.value,
        outcome=entry.kind,
        reason=f"{fields['reason']}{detail}",
        key=entry.key,
        request=fields["request"],
        by=fields["by"],
    )

"""A decision: what a rule found, what came of it, the versions it read; in the chain ``triggers/<model>/<trigger>``.

One entry a look, fired or not, so that "why did it not retrain on Wednesday?" has an answer as exact as "why did it on
Tuesday?". The entry is written last; until then the request in the model's chain carries the decision's key, so that a
look which died between the two goes on with its own request.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from lake.lake import Lake
from lake.store.ledger import Entry
from models.registry.fold import read_state
from models.registry.kinds import decision_key, trigger_chain
from models.serialize import to_plain
from models.spec import RetrainingInputs
from models.triggers.findings import find
from models.triggers.history import History
from models.triggers.requests import Answer, Asked, ask
from models.triggers.rules import TRIGGERS, HandRule, Patience, Rule, Trigger
from models.triggers.window import Finding, Found, Look

MEASURED = (Trigger.ERROR_RATE, Trigger.DRIFT, Trigger.FEEDBACK)
"""Triggers that compare with what was before."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """A decision as it goes along the edges of the graph; the ledger has its evidence."""

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

    @property
    def fired(self) -> bool:
        """Whether there was cause, whatever came of it."""
        return self.outcome in {answer.value for answer in Answer}


def decide(
    lake: Lake,
    history: History,
    model: str,
    rule: Rule,
    *,
    end: datetime,
    every: timedelta,
    patience: Patience,
    key: str = "",
    inputs: RetrainingInputs | None = None,
) -> Decision:
    """Look once, ask for a training where there is cause, and write the decision down. The same look again reads it.

    Args:
        lake: where the ledger is.
        history: what there is to see.
        model: whose training is in question.
        rule: the thresholds; another rule is another decision.
        end: end of the window (UTC); data of later hours are for the next look.
        every: time to the next look.
        patience: how to bear with failed trainings.
        key: names the look where ``end`` is no scheduled time, as a person's has none: the run's name will do.
        inputs: what a training that this asks for is made with; None leaves it to whoever starts it.
    """
    trigger = TRIGGERS[type(rule)]
    chain, key = trigger_chain(model, trigger.value), _key(rule, key or f"until:{end.isoformat()}")
    if known := lake.ledger.find(chain, key):
        return _decision(model, trigger, known)
    since = read_state(lake.ledger, model).completed
    look = Look(end=end, every=every, since=since, onset=_onset(lake, model, since.cut) if since else None)
    finding = find(rule, history, look)
    by = rule.by if isinstance(rule, HandRule) else ""
    fired = finding.found is Found.FIRED
    asked = ask(lake, model, trigger, key, finding.reason, patience, by=by, inputs=inputs) if fired else None
    entry = lake.ledger.append(chain, _outcome(finding, asked), key, _payload(rule, look, finding, asked, history, by))
    return _decision(model, trigger, entry)


def _onset(lake: Lake, model: str, cut: datetime) -> datetime | None:
    """Where the newest cause began that is part of the training with this cut: seen before that training was complete,
    and begun before its cut. Whichever trigger saw it: what makes calls fail moves features and displeases users, too,
    and is one cause.
    """
    chains = [trigger_chain(model, trigger.value) for trigger in MEASURED]
    fired = [e.payload for chain in chains for kind in Answer for e in lake.ledger.entries(chain, kind=kind.value)]
    seen = [one for one in fired if one["onset"] and datetime.fromisoformat(one["since"]) < cut]
    return max((onset for one in seen if (onset := datetime.fromisoformat(one["onset"])) < cut), default=None)


def _outcome(finding: Finding, asked: Asked | None) -> str:
    return asked.answer.value if asked else finding.found.value


def _payload(
    rule: Rule, look: Look, finding: Finding, asked: Asked | None, history: History, by: str
) -> dict[str, Any]:
    return {
        "fired": finding.found is Found.FIRED,
        "reason": finding.reason,
        "detail": asked.detail if asked else "",
        "request": asked.request if asked else 0,
        "by": by,
        "rule": to_plain(rule),
        "window": {"start": finding.start.isoformat() if finding.start else None, "end": look.end.isoformat()},
        "onset": finding.onset.isoformat() if finding.onset else None,
        "since": look.since.cut.isoformat() if look.since else None,
        "versions": history.versions(),
        "evidence": finding.evidence,
    }


def _decision(model: str, trigger: Trigger, entry: Entry) -> Decision:
    fields = entry.payload
    detail = f" Covered {fields['detail']}." if entry.kind == Answer.COVERED.value else ""
    detail = f" Backing off {fields['detail']}." if entry.kind == Answer.BACKING_OFF.value else detail
    return Decision(
        model=model,
        trigger=trigger.value,
        outcome=entry.kind,
        reason=f"{fields['reason']}{detail}",
        key=entry.key,
        request=fields["request"],
        by=fields["by"],
    )


def _key(rule: Rule, look: str) -> str:
    digest = hashlib.sha256(json.dumps(asdict(rule), sort_keys=True).encode()).hexdigest()[:12]
    return decision_key(look, digest)

"""Why a model was retrained on a day, or not: the decisions of that day and their results, as JSON and as text.

Everything is read from the ledger, so an old day is explained by the thresholds that it was decided with.
"""

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from errors import UnknownName
from lake.lake import Lake
from lake.store.ledger import Entry
from models.registry.kinds import model_chain, model_names_with_decisions, trigger_chain
from models.triggers.requests import RequestOutcome
from models.triggers.rules import Trigger
from reports.common.ledger_text import clock, evidence, words

EVENTS = (
    *("retraining_requested", "request_covered", "request_abandoned", "request_ended"),
    *("retraining_opened", "retraining_resumed", "retraining_closed", "retraining_failed"),
)
"""Kinds of entries in a model's chain that belong to the explanation."""
FIRED = frozenset(outcome.value for outcome in RequestOutcome)
"""Outcomes of decisions that found a reason to retrain."""


def explain(lake: Lake, model: str, day: date) -> dict[str, Any]:
    """The decisions about a model on a day (UTC), and what was trained.

    ``model``, ``day``; ``triggers``: for each trigger that was evaluated the number of evaluations (``looks``), those
    that fired and the last one; ``events``: requests and retrainings, each with time, kind and evidence.
    """
    known = model_names_with_decisions(lake.ledger)
    if model not in known:
        raise UnknownName("model", model, known)
    events = [entry for entry in entries_of_day(lake, model_chain(model), day) if entry.kind in EVENTS]
    decided = {trigger: entries_of_day(lake, trigger_chain(model, trigger.value), day) for trigger in Trigger}
    return {
        "model": model,
        "day": day.isoformat(),
        "events": [{"time": e.time.isoformat(), "kind": e.kind, "evidence": evidence(e)} for e in events],
        "triggers": [_trigger(trigger, entries) for trigger, entries in decided.items() if entries],
    }


def entries_of_day(lake: Lake, chain_name: str, day: date) -> list[Entry]:
    """The entries of a chain that were written on a day (UTC)."""
    start = datetime.combine(day, time(), UTC)
    return [e for e in lake.ledger.entries(chain_name) if start <= e.time < start + timedelta(days=1)]


def _trigger(trigger: Trigger, entries: list[Entry]) -> dict[str, Any]:
    decisions = []
    for entry in entries:
        names = ("reason", "detail", "request", "window", "rule", "versions")
        recorded = {name: entry.payload[name] for name in names}
        decisions.append({"time": entry.time.isoformat(), "outcome": entry.kind, **recorded, "entry": entry.digest})
    fired = [decision for decision in decisions if decision["outcome"] in FIRED]
    return {"trigger": trigger.value, "looks": len(decisions), "fired": fired, "last": decisions[-1]}


def explanation_lines(explained: dict[str, Any]) -> list[str]:
    """The result of ``explain`` as lines of text: the answer first, then the events, then each trigger."""
    lines = [f"{explained['model']} on {explained['day']} (UTC): {_answer(explained['events'])}"]
    lines += [f"  {clock(e['time'])}  {words(e['kind'])}: {e['evidence']}" for e in explained["events"]]
    if not explained["triggers"]:
        lines.append("  No trigger was evaluated on that day.")
    for trigger in explained["triggers"]:
        fired = trigger["fired"]
        lines.append(f"  {words(trigger['trigger'])}: evaluations {trigger['looks']}, fired {len(fired)}")
        lines += [f"    {clock(d['time'])}  {_decision(d)}" for d in fired or [trigger["last"]]]
    return lines


def _answer(events: list[dict[str, Any]]) -> str:
    kinds = [event["kind"] for event in events]
    opened, closed = kinds.count("retraining_opened"), kinds.count("retraining_closed")
    if opened or closed:
        return f"it was retrained ({opened} started, {closed} ended)"
    if "retraining_requested" in kinds:
        return "a retraining was requested and has not started"
    return "it was not retrained"


def _decision(decision: dict[str, Any]) -> str:
    detail = f" ({decision['detail']})" if decision["detail"] else ""
    return f"{words(decision['outcome'])}{detail}: {decision['reason']}"

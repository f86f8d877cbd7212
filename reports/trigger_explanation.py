"""Why did it retrain, and why not: the decisions of a day and what came of them, as plain JSON, text and deck.

Everything is read from the ledger, so an old day is told as it was decided, with the thresholds of that day.
"""

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from errors import UnknownName
from lake.lake import Lake
from lake.store.ledger import Entry
from models.registry.kinds import model_chain, model_names_with_decisions, trigger_chain
from models.triggers.decisions import Decision
from models.triggers.requests import RequestOutcome
from models.triggers.rules import Trigger
from reports.common.ledger_text import evidence

TOLD = ("retraining_requested", "request_abandoned", "request_ended", "retraining_opened", "retraining_resumed")
ENDS = ("retraining_closed", "retraining_failed")
FIRED = frozenset(answer.value for answer in RequestOutcome)


def explain(lake: Lake, model: str, day: date) -> dict[str, Any]:
    """What was decided about a model on a day (UTC), and what was trained.

    ``model``, ``day``; ``triggers``: for each that looked the number of looks, those that fired and the last one;
    ``events``: requests and retrainings, each with time, kind and evidence.

    Raises:
        UnknownName: the ledger knows no such model.
    """
    known = model_names_with_decisions(lake.ledger)
    if model not in known:
        raise UnknownName("model", model, known)
    start = datetime.combine(day, time(), UTC)
    events = [e for e in _during(lake, model_chain(model), start) if e.kind in (*TOLD, *ENDS)]
    looked = {trigger: _during(lake, trigger_chain(model, trigger.value), start) for trigger in Trigger}
    return {
        "model": model,
        "day": day.isoformat(),
        "events": [{"time": e.time.isoformat(), "kind": e.kind, "evidence": evidence(e)} for e in events],
        "triggers": [_trigger(trigger, entries) for trigger, entries in looked.items() if entries],
    }


def told(explained: dict[str, Any]) -> list[str]:
    """The same in lines for a person: the answer first, then each trigger's."""
    lines = [f"{explained['model']} on {explained['day']} (UTC): {_answer(explained['events'])}"]
    lines += [f"  {_clock(e['time'])}  {_words(e['kind'])}: {e['evidence']}" for e in explained["events"]]
    if not explained["triggers"]:
        lines.append("  No trigger looked on that day.")
    for one in explained["triggers"]:
        lines.append(f"  {_words(one['trigger'])}: {one['looks']} looks, {len(one['fired'])} with cause")
        lines += [f"    {_clock(look['time'])}  {_look(look)}" for look in one["fired"]]
        if not one["fired"]:
            lines.append(f"    {_clock(one['last']['time'])}  {_look(one['last'])}")
    return lines


def decision_parts(lake: Lake, model: str, decisions: list[Decision]) -> list[str]:
    """Pieces of a deck: each decision with its evidence, then the last seven days of all triggers."""
    from reports.charts.common import facts, heading, note, table

    parts: list[str] = []
    for decision in decisions:
        entry = lake.ledger.find(trigger_chain(model, decision.trigger), decision.key)
        assert entry is not None, "a decision is returned after it was written"
        window = entry.payload["window"]
        parts.append(note(decision.reason))
        parts.append(
            facts(
                {
                    "trigger": _words(decision.trigger),
                    "outcome": _words(decision.outcome),
                    "window": f"{_minute(window['start'])} to {_minute(window['end'])}",
                    "since the cut": _minute(entry.payload["since"]),
                }
            )
        )
        parts += [table(rows) for rows in _tables(entry.payload["evidence"])]
    if not decisions:
        parts.append(note("Nothing was due: another run has looked for this time."))
    if week := _week(lake, model):
        parts += [heading("The last seven days"), table(week)]
    return parts


COLUMNS = {
    "compared": ("slice", "days", "calls", "bad", "rate", "rate_before", "rise", "chance", "level"),
    "shifts": ("name", "kind", "size", "chance", "psi", "ks", "was", "now", "rows", "clusters", "moved"),
}
"""Of the records among the evidence, what a person reads."""


def _tables(told_: dict[str, Any]) -> list[list[dict[str, Any]]]:
    return [
        [{column: one[column] for column in columns} for one in told_[name]]
        for name, columns in COLUMNS.items()
        if told_.get(name)
    ]


def _week(lake: Lake, model: str) -> list[dict[str, Any]]:
    """One row a trigger and day."""
    rows = []
    today = lake.ledger.clock().astimezone(UTC).date()
    for day in (today - timedelta(days=back) for back in range(7)):
        start = datetime.combine(day, time(), UTC)
        for trigger in Trigger:
            entries = _during(lake, trigger_chain(model, trigger.value), start)
            if entries:
                chosen = next((e for e in reversed(entries) if e.kind in FIRED), entries[-1])
                outcome, reason = _words(chosen.kind), chosen.payload["reason"]
                rows.append(
                    {
                        "day": day.isoformat(),
                        "trigger": _words(trigger.value),
                        "looks": len(entries),
                        "outcome": outcome,
                    }
                    | {"reason": reason}
                )
    return rows


def _during(lake: Lake, name: str, start: datetime) -> list[Entry]:
    end = start + timedelta(days=1)
    return [entry for entry in lake.ledger.entries(name) if start <= entry.time < end]


def _trigger(trigger: Trigger, entries: list[Entry]) -> dict[str, Any]:
    plain = [
        {
            "time": entry.time.isoformat(),
            "outcome": entry.kind,
            **{name: entry.payload[name] for name in ("reason", "detail", "request", "window", "rule", "versions")},
            "entry": entry.digest,
        }
        for entry in entries
    ]
    fired = [one for one in plain if one["outcome"] in FIRED]
    return {"trigger": trigger.value, "looks": len(plain), "fired": fired, "last": plain[-1]}


def _answer(events: list[dict[str, Any]]) -> str:
    kinds = [event["kind"] for event in events]
    opened, closed = kinds.count("retraining_opened"), kinds.count("retraining_closed")
    if opened or closed:
        return f"it retrained ({opened} begun, {closed} ended)"
    if "retraining_requested" in kinds:
        return "a retraining was asked for, and has not begun"
    return "it did not retrain"


def _look(look: dict[str, Any]) -> str:
    detail = f" ({look['detail']})" if look["detail"] else ""
    return f"{_words(look['outcome'])}{detail}: {look['reason']}"


def _words(name: str) -> str:
    return name.replace("_", " ")


def _clock(instant: str) -> str:
    return instant[11:16]


def _minute(instant: str | None) -> str:
    return instant[:16].replace("T", " ") if instant else "-"

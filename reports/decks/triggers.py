"""Deck of a trigger: its decisions with their evidence, and the last seven days of all triggers."""

from datetime import UTC, timedelta
from itertools import product
from typing import Any

from lake.lake import Lake
from models.registry.kinds import trigger_chain
from models.triggers.decisions import Decision
from models.triggers.rules import Trigger
from reports.common.html import facts, heading, note, table
from reports.common.ledger_text import minute, words
from reports.trigger_explanation import FIRED, entries_of_day

COLUMNS = {
    "compared": ("slice", "days", "calls", "bad", "rate", "rate_before", "rise", "chance", "level"),
    "shifts": ("name", "kind", "size", "chance", "psi", "ks", "was", "now", "rows", "clusters", "moved"),
}
"""The fields that are shown, of the records in a decision's evidence."""


def decision_deck(lake: Lake, model: str, decisions: list[Decision]) -> list[str]:
    """Each decision with its evidence, then the last seven days of all triggers."""
    parts = [part for decision in decisions for part in _decision(lake, model, decision)]
    if not decisions:
        parts.append(note("Nothing was due: another run has already evaluated the trigger for this time."))
    if rows := _days(lake, model):
        parts += [heading("The last seven days"), table(rows)]
    return parts


def _decision(lake: Lake, model: str, decision: Decision) -> list[str]:
    entry = lake.ledger.find(trigger_chain(model, decision.trigger), decision.key)
    assert entry is not None, "a decision is returned after it was written"
    window, evidence = entry.payload["window"], entry.payload["evidence"]
    figures = {
        "trigger": words(decision.trigger),
        "outcome": words(decision.outcome),
        "window": f"{minute(window['start'])} to {minute(window['end'])}",
        "since the cut": minute(entry.payload["since"]),
    }
    tables = [
        table([{column: record[column] for column in columns} for record in evidence[name]])
        for name, columns in COLUMNS.items()
        if evidence.get(name)
    ]
    return [note(decision.reason), facts(figures), *tables]


def _days(lake: Lake, model: str) -> list[dict[str, Any]]:
    """One row for each trigger and day with decisions, the newest day first."""
    rows: list[dict[str, Any]] = []
    today = lake.ledger.clock().astimezone(UTC).date()
    for day, trigger in product((today - timedelta(days=back) for back in range(7)), Trigger):
        if entries := entries_of_day(lake, trigger_chain(model, trigger.value), day):
            chosen = next((entry for entry in reversed(entries) if entry.kind in FIRED), entries[-1])
            row = {"day": day.isoformat(), "trigger": trigger, "decisions": len(entries)}
            rows.append(row | {"outcome": words(chosen.kind), "reason": chosen.payload["reason"]})
    return rows

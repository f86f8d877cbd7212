"""The three sections of the weekly report: the agents' activity, the quality of the data, the events of the models."""

from collections import Counter
from collections.abc import Callable
from datetime import datetime

from lake.lake import Lake
from lake.quality.monitor import CHECKED
from lake.quality.score import ROWS, account
from lake.store.ledger import Entry
from models.registry.kinds import REPORTED, version_name
from reports.charts.common import bars, flow
from reports.charts.weekly import Change, changes, daily_stack
from reports.common.html import heading, joined, note, render, table
from reports.common.ledger_text import evidence, words
from reports.common.palette import RED
from reports.weekly.activity import Activities, Activity, Week, milliseconds, percentage

Production = Callable[[str, datetime], str]
"""The version of a model that was in production at an instant: ``agents@v3`` or ``base``."""
Cell = tuple[str, str, str]
"""A number, its change since the week before, and the CSS class of that change."""
COLUMNS = ("agent", "interactions", "users", "latency p50", "latency p95", "failed", "positive feedback", "tokens")


def agents_section(now: Activities, before: Activities) -> str:
    """Interactions per day, three measures beside the week before, and a table of everything by agent."""
    names = sorted({*now.days, *before.days})
    if not names:
        return note("No interactions in this week or the one before.")
    past = [sum(counts[day] for counts in before.days.values()) for day in range(7)]
    days = {name: now.days.get(name, (0,) * 7) for name in names}
    weeks = {name: (before.of(name), now.of(name)) for name in names}

    def change(title: str, field: str, scale: float, *, less_is_better: bool) -> Change:
        def value(activity: Activity) -> float | None:
            found: float | None = getattr(activity, field)
            return None if found is None else found * scale

        pairs = {name: (value(past), value(present)) for name, (past, present) in weeks.items()}
        return Change(title=title, pairs=pairs, less_is_better=less_is_better)

    measures = [
        change("Latency p95, s", "p95_ms", 0.001, less_is_better=True),
        change("Failed calls, %", "error_rate", 100.0, less_is_better=True),
        change("Positive feedback, %", "positive", 100.0, less_is_better=False),
    ]
    rows = [(name, _cells(*pair)) for name, pair in weeks.items()]
    parts = [
        daily_stack(days, past, "Interactions per day"),
        changes(measures, "This week (full dot) and the week before (hollow), by agent"),
        render("activity_table.html", columns=COLUMNS, rows=rows),
        note("Green is better and orange is worse, not tested for significance: with few calls, most is noise."),
    ]
    return joined(parts)


def _cells(past: Activity, now: Activity) -> list[Cell]:
    return [
        (f"{now.interactions:,}", *_change(now.interactions, past.interactions)),
        (f"{now.users:,}", *_change(now.users, past.users)),
        (milliseconds(now.p50_ms), *_change(now.p50_ms, past.p50_ms, less_is_better=True)),
        (milliseconds(now.p95_ms), *_change(now.p95_ms, past.p95_ms, less_is_better=True)),
        (percentage(now.error_rate), *_change(now.error_rate, past.error_rate, " pp", less_is_better=True)),
        (percentage(now.positive), *_change(now.positive, past.positive, " pp", less_is_better=False)),
        (f"{now.tokens:,}", *_change(now.tokens, past.tokens)),
    ]


def _change(
    now: float | None, before: float | None, unit: str = "%", *, less_is_better: bool | None = None
) -> tuple[str, str]:
    """A change in percent, of a share in percentage points; ``better`` or ``worse`` where one direction is good."""
    if now is None or before is None or (unit == "%" and not before):
        return "", ""
    change = round(100 * (now - before) / before) if unit == "%" else round(100 * (now - before), 1)
    if not change:
        return "as before", ""
    tone = "" if less_is_better is None else "better" if (change < 0) == less_is_better else "worse"
    return f"{change:+,}{unit}", tone


def data_section(lake: Lake, week: Week) -> str:
    """What landed in the week, why lines were quarantined, and the complaints of the hourly checks and the audits."""
    chains = lake.ledger.chains("sources/")
    entries = [(chain, entry) for chain in chains for entry in _within(lake, chain, week)]
    complaints = [
        {"source": chain.partition("/")[2], "when (UTC)": f"{entry.time:%a %H:%M}", "found": evidence(entry)}
        for chain, entry in entries
        if entry.kind == CHECKED or (entry.kind == "audited" and entry.payload["findings"])
    ]
    parts: list[str] = [note("Nothing landed in this week.")]
    if landed := [entry for _, entry in entries if entry.kind == "ingested"]:
        counts = account(landed)
        reasons = bars(counts["reasons"], "Quarantined by reason", "lines", RED)
        parts = [flow({name: counts[name] for name in ROWS}), reasons]
    last = table(complaints[-10:]) if complaints else note("The checks and the audits had no complaints.")
    parts += [heading("Complaints"), last]
    if (rest := len(complaints) - 10) > 0:
        parts.append(note(f"And {rest:,} more, earlier in the week."))
    return joined(parts)


def models_section(lake: Lake, week: Week, production: Production) -> str:
    """What is in production at the end of the week, and the events of each model."""
    parts: list[str] = []
    for chain in lake.ledger.chains("models/"):
        model = chain.partition("/")[2]
        events = [entry for entry in _within(lake, chain, week) if entry.kind != REPORTED]
        before, after = production(model, week.start), production(model, week.end)
        change = f"; {before} was at the start of the week." if before != after else ", all week."
        shown = table(_events(events)) if events else note("No events.")
        parts += [heading(model), note(f"{after} is in production{change}"), shown]
    return joined(parts) or note("No model has been trained yet.")


def _events(entries: list[Entry]) -> list[dict[str, str]]:
    """A row for each event; events of a kind with more than five share one row."""
    frequent = {kind: count for kind, count in Counter(entry.kind for entry in entries).items() if count > 5}
    last = {entry.kind: entry for entry in entries}
    shown = [entry for entry in entries if entry.kind not in frequent or entry is last[entry.kind]]
    return [
        {
            "when (UTC)": f"{entry.time:%a %H:%M}",
            "event": words(entry.kind) + (f", {frequent[entry.kind]} times" if entry.kind in frequent else ""),
            "version": version_name(entry),
            "why": ("last: " if entry.kind in frequent else "") + evidence(entry),
        }
        for entry in shown
    ]


def _within(lake: Lake, chain: str, week: Week) -> list[Entry]:
    return [entry for entry in lake.ledger.entries(chain, until=week.end) if week.start <= entry.time < week.end]

"""The three sections of the weekly report: the agents' activity, the quality of the data, the events of the models."""

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import NamedTuple

from lake.lake import Lake
from lake.quality.monitor import CHECKED
from lake.quality.score import ROWS, account
from lake.store.ledger import Entry
from models.registry.kinds import version_name
from reports.charts.common import bars, flow
from reports.charts.weekly import Change, changes, daily_stack
from reports.common.html import heading, joined, note, render, table
from reports.common.ledger_text import evidence, words
from reports.common.palette import RED
from reports.weekly.activity import Activities, Activity, Week
from reports.weekly.units import milliseconds, percentage

Production = Callable[[str, datetime], str]
"""The version of a model that was in production at an instant: ``agents@v3`` or ``base``."""
Cell = tuple[str, str, str]
"""A number, its change since the week before, and the CSS class of that change."""
MANY = 5
"""More entries of one kind than this share one line."""
LEFT_OUT = ("reported",)
"""Kinds of entries that are not shown."""
COLUMNS = ("agent", "interactions", "users", "latency p50", "latency p95", "failed", "positive feedback", "tokens")


class Measure(NamedTuple):
    """A number of ``Activity`` that is drawn beside that of the week before."""

    title: str
    unit: str
    field: str
    scale: float
    less_is_better: bool


MEASURES = (
    Measure("Latency p95", "s", "p95_ms", 0.001, True),
    Measure("Failed calls", "%", "error_rate", 100.0, True),
    Measure("Positive feedback", "%", "positive", 100.0, False),
)


def agents_section(now: Activities, before: Activities) -> str:
    """Interactions per day, three measures beside the week before, and a table of everything by agent."""
    names = sorted({*now.days, *before.days})
    if not names:
        return note("No interactions in this week or the one before.")
    past = [sum(counts[day] for counts in before.days.values()) for day in range(7)]
    days = {name: now.days.get(name, (0,) * 7) for name in names}
    return joined(
        [
            daily_stack(days, past, "Interactions per day"),
            changes(
                [_change(names, now, before, measure) for measure in MEASURES],
                "This week (full dot) and the week before (hollow), by agent",
            ),
            render(
                "activity_table.html",
                columns=COLUMNS,
                rows=[(name, _cells(now.of(name), before.of(name))) for name in names],
            ),
            note("Green is better and orange is worse, not tested for significance: with few calls, most is noise."),
        ]
    )


def _change(names: Sequence[str], now: Activities, before: Activities, measure: Measure) -> Change:
    def value(activity: Activity) -> float | None:
        found: float | None = getattr(activity, measure.field)
        return None if found is None else found * measure.scale

    pairs = {name: (value(before.of(name)), value(now.of(name))) for name in names}
    return Change(title=measure.title, unit=measure.unit, pairs=pairs, less_is_better=measure.less_is_better)


def _cells(now: Activity, past: Activity) -> list[Cell]:
    return [
        (f"{now.interactions:,}", *_relative(now.interactions, past.interactions, None)),
        (f"{now.users:,}", *_relative(now.users, past.users, None)),
        (milliseconds(now.p50_ms), *_relative(now.p50_ms, past.p50_ms, True)),
        (milliseconds(now.p95_ms), *_relative(now.p95_ms, past.p95_ms, True)),
        (percentage(now.error_rate), *_points(now.error_rate, past.error_rate, True)),
        (percentage(now.positive), *_points(now.positive, past.positive, False)),
        (f"{now.tokens:,}", *_relative(now.tokens, past.tokens, None)),
    ]


def _relative(now: float | None, before: float | None, less_is_better: bool | None) -> tuple[str, str]:
    if now is None or not before:
        return "", ""
    return _toned(round(100 * (now - before) / before), "%", less_is_better)


def _points(now: float | None, before: float | None, less_is_better: bool) -> tuple[str, str]:
    """A share's change in percentage points."""
    if now is None or before is None:
        return "", ""
    return _toned(round(100 * (now - before), 1), " pp", less_is_better)


def _toned(change: float, unit: str, less_is_better: bool | None) -> tuple[str, str]:
    """A change as text, and ``better`` or ``worse`` where a direction is good."""
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
    landed = [entry for _, entry in entries if entry.kind == "ingested"]
    return joined([*_landed(landed), heading("Complaints"), *_complaints(complaints)])


def _landed(ingested: Sequence[Entry]) -> list[str]:
    if not ingested:
        return [note("Nothing landed in this week.")]
    counts = account(ingested)
    reasons = counts["reasons"]
    return [
        flow({name: counts[name] for name in ROWS}),
        bars(list(reasons), list(reasons.values()), "Quarantined by reason", "lines", RED),
    ]


def _complaints(complaints: Sequence[dict[str, str]]) -> list[str]:
    """The last ten, and how many there were."""
    if not complaints:
        return [note("The checks and the audits had no complaints.")]
    parts: list[str] = [table(complaints[-2 * MANY :])]
    if (rest := len(complaints) - 2 * MANY) > 0:
        parts.append(note(f"And {rest:,} more, earlier in the week."))
    return parts


def models_section(lake: Lake, week: Week, production: Production) -> str:
    """What is in production at the end of the week, and the events of each model."""
    parts: list[str] = []
    for chain in lake.ledger.chains("models/"):
        model = chain.partition("/")[2]
        events = [entry for entry in _within(lake, chain, week) if entry.kind not in LEFT_OUT]
        before, after = production(model, week.start), production(model, week.end)
        change = f"; {before} was at the start of the week." if before != after else ", all week."
        parts += [
            heading(model),
            note(f"{after} is in production{change}"),
            table(_events(events)) if events else note("No events."),
        ]
    return joined(parts) or note("No model has been trained yet.")


def _events(entries: list[Entry]) -> list[dict[str, str]]:
    """A row for each event; events of a frequent kind share one row."""
    frequent = {kind: count for kind, count in Counter(entry.kind for entry in entries).items() if count > MANY}
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

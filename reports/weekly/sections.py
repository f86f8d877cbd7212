"""The three parts of the weekly report: what the agents did, how good the data were, what happened to the models."""

import html
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import NamedTuple

from lake.lake import Lake
from lake.quality.monitor import CHECKED
from lake.quality.score import ROWS, account
from lake.store.ledger import Entry
from models.registry.kinds import version_name
from reports.charts.common import RED, bars, flow
from reports.charts.weekly import Change, changes, daily_stack
from reports.common.html import heading, note, table
from reports.common.ledger_text import evidence
from reports.weekly.activity import Activities, Activity, Week

Live = Callable[[str, datetime], str]
"""What was in production of a model at an instant: ``agents@v3`` or ``base``."""
MANY = 5
"""More entries of one kind than this are told in one line."""
UNTOLD = ("reported",)


class Measure(NamedTuple):
    """A number of ``Activity`` that is shown beside the week before."""

    title: str
    unit: str
    field: str
    scale: float
    less_is_better: bool


MEASURES = (
    Measure("Latency p95", "s", "p95_ms", 0.001, True),
    Measure("Failed calls", "%", "error_rate", 100.0, True),
    Measure("Thumbs up", "%", "liked", 100.0, False),
)


def what_agents_did(now: Activities, before: Activities) -> str:
    """Interactions a day, three measures beside the week before, and a table of everything by agent."""
    names = sorted({*now.days, *before.days})
    if not names:
        return note("No interactions in this week or the one before.")
    past = [sum(counts[day] for counts in before.days.values()) for day in range(7)]
    days = {name: now.days.get(name, (0,) * 7) for name in names}
    compared_to = [_change(names, now, before, measure) for measure in MEASURES]
    return "".join(
        [
            daily_stack(days, past, "Interactions a day"),
            changes(compared_to, "This week (full dot) and the week before (hollow), by agent"),
            _table([now.of(name) for name in names], [before.of(name) for name in names]),
            note(
                "Green became better and orange worse, be it by chance or not: of few calls, most changes are chance."
            ),
        ]
    )


def _change(names: Sequence[str], now: Activities, before: Activities, measure: Measure) -> Change:
    def value(activity: Activity) -> float | None:
        found: float | None = getattr(activity, measure.field)
        return None if found is None else found * measure.scale

    pairs = {name: (value(before.of(name)), value(now.of(name))) for name in names}
    return Change(title=measure.title, unit=measure.unit, pairs=pairs, less_is_better=measure.less_is_better)


def _table(now: Sequence[Activity], before: Sequence[Activity]) -> str:
    """A row an agent; what changed since the week before stands small under its number."""
    head = ("agent", "interactions", "users", "latency p50", "latency p95", "failed", "thumbs up", "tokens")
    rows = "".join(_row(one, past) for one, past in zip(now, before, strict=True))
    names = "".join(f"<th{' class=number' if place else ''}>{name}</th>" for place, name in enumerate(head))
    return f'<div class="scroll"><table><thead><tr>{names}</tr></thead><tbody>{rows}</tbody></table></div>'


def _row(now: Activity, past: Activity) -> str:
    cells = (
        (f"{now.interactions:,}", _relative(now.interactions, past.interactions, None)),
        (f"{now.users:,}", _relative(now.users, past.users, None)),
        (milliseconds(now.p50_ms), _relative(now.p50_ms, past.p50_ms, True)),
        (milliseconds(now.p95_ms), _relative(now.p95_ms, past.p95_ms, True)),
        (percentage(now.error_rate), _points(now.error_rate, past.error_rate, True)),
        (percentage(now.liked), _points(now.liked, past.liked, False)),
        (f"{now.tokens:,}", _relative(now.tokens, past.tokens, None)),
    )
    told = "".join(f'<td class="number">{value}{change}</td>' for value, change in cells)
    return f"<tr><td>{html.escape(now.agent)}</td>{told}</tr>"


def data(lake: Lake, week: Week) -> str:
    """What landed in the week, why lines were quarantined, and what the hourly checks and the audits complained of."""
    chains = lake.ledger.chains("sources/")
    entries = [(chain, entry) for chain in chains for entry in _within(lake, chain, week)]
    landed = [entry for _, entry in entries if entry.kind == "ingested"]
    if not landed:
        came = note("Nothing landed in this week.")
    else:
        counted = account(landed)
        came = flow({name: counted[name] for name in ROWS})
        came += bars(list(counted["reasons"]), list(counted["reasons"].values()), "Quarantined by reason", "lines", RED)
    found = [
        {"source": chain.partition("/")[2], "when (UTC)": f"{entry.time:%a %H:%M}", "found": evidence(entry)}
        for chain, entry in entries
        if entry.kind == CHECKED or (entry.kind == "audited" and entry.payload["findings"])
    ]
    return (
        came + heading("Complaints") + (_complaints(found) if found else note("Neither checks nor audits complained."))
    )


def _complaints(found: list[dict[str, str]]) -> str:
    """The last ten, and how many there were."""
    rest = len(found) - 2 * MANY
    return table(found[-2 * MANY :]) + (note(f"And {rest:,} more, earlier in the week.") if rest > 0 else "")


def models(lake: Lake, week: Week, live: Live) -> str:
    """What is in production at the week's end, and what happened to each model."""
    told = []
    for chain in lake.ledger.chains("models/"):
        model = chain.partition("/")[2]
        events = [entry for entry in _within(lake, chain, week) if entry.kind not in UNTOLD]
        before, after = live(model, week.start), live(model, week.end)
        state = f"{after} answers" + (f"; {before} did when the week began." if before != after else ", all week.")
        told.append(
            heading(model) + note(state) + (table(_told(events)) if events else note("Nothing happened to it."))
        )
    return "".join(told) or note("No model has been trained yet.")


def _told(events: list[Entry]) -> list[dict[str, str]]:
    """A row an event; of a kind that came often, one row for all."""
    often = {kind: count for kind, count in Counter(entry.kind for entry in events).items() if count > MANY}
    last = {entry.kind: entry for entry in events}
    shown = [entry for entry in events if entry.kind not in often or entry is last[entry.kind]]
    return [
        {
            "when (UTC)": f"{entry.time:%a %H:%M}",
            "event": entry.kind.replace("_", " ") + (f", {often[entry.kind]} times" if entry.kind in often else ""),
            "version": version_name(entry),
            "why": ("last: " if entry.kind in often else "") + evidence(entry),
        }
        for entry in shown
    ]


def _within(lake: Lake, chain: str, week: Week) -> list[Entry]:
    return [entry for entry in lake.ledger.entries(chain, until=week.end) if week.start <= entry.time < week.end]


def milliseconds(value: float | None) -> str:
    """``840 ms``, ``2.31 s``."""
    if value is None:
        return "-"
    return f"{value:,.0f} ms" if value < 1000 else f"{value / 1000:.2f} s"


def percentage(share: float | None) -> str:
    """``0.8%``."""
    return "-" if share is None else f"{share:.1%}"


def compared(now: float, before: float) -> str:
    """``3% more than``, ``as often as``: a count beside an earlier one that is not zero."""
    change = round(100 * (now - before) / before)
    return "as often as" if change == 0 else f"{abs(change):,}% {'more' if change > 0 else 'less'} than"


def _relative(now: float | None, before: float | None, less_is_better: bool | None) -> str:
    if now is None or not before:
        return ""
    return _small(round(100 * (now - before) / before), "%", less_is_better)


def _points(now: float | None, before: float | None, less_is_better: bool) -> str:
    """A share's change in percentage points."""
    return "" if now is None or before is None else _small(round(100 * (now - before), 1), " pp", less_is_better)


def _small(change: float, unit: str, less_is_better: bool | None) -> str:
    """A change, green or orange where more of it is good or bad."""
    if not change:
        return "<small>as before</small>"
    shade = "" if less_is_better is None else ' class="better"' if (change < 0) == less_is_better else ' class="worse"'
    return f"<small{shade}>{change:+,}{unit}</small>"

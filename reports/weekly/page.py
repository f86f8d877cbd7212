"""The weekly report: one page that needs nothing else, about the agents, the data and the models in one ISO week.

It is written once. The week's entry in the chain ``reports`` fixes the version of the interactions first, so that a run
that was cut off is finished by the next one with the same numbers. It holds no user's text and no user ids.
"""

import contextlib
import logging
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path

from markupsafe import Markup

from errors import ObjectExists, UserError
from lake.contracts.agent_interactions import AGENT_INTERACTIONS
from lake.lake import Lake
from lake.tables.versions import TableVersion
from models.types import baseline_name
from reports.common.html import facts, render, section, style
from reports.weekly.activity import ALL, Activities, Activity, Week, activities, milliseconds, monday, percentage
from reports.weekly.sections import Production, agents_section, data_section, models_section

log = logging.getLogger("fuelline.report")

CHAIN = "reports"


@dataclass(frozen=True, kw_only=True, slots=True)
class WeeklyReport:
    """Where a week's page is, and which version it was made from."""

    week: str
    object: str
    """Its key in the object store."""
    interactions: list[TableVersion]
    """The version that was read; empty where nothing had been ingested."""


def write_week(lake: Lake, week: Week, production: Production) -> WeeklyReport:
    """Write the page of a week, unless it exists; returns where it is."""
    version = lake.tables.current(AGENT_INTERACTIONS)
    key = f"reports/weekly/{week.name}.html"
    pinned = {"week": week.name, "object": key, "interactions": [asdict(version)] if version else []}
    kept = lake.ledger.append(CHAIN, "weekly", f"weekly:{week.name}", pinned).payload
    report = WeeklyReport(**kept | {"interactions": [TableVersion(**fields) for fields in kept["interactions"]]})
    if not lake.store.exists(key):
        with contextlib.suppress(ObjectExists):
            lake.store.create(key, _page(lake, week, report, production).encode())
        log.info("%s: %s", week.name, key)
    return report


def write_past_week(lake: Lake, name: str) -> WeeklyReport:
    """Write the page of the week of this name (``2026-W41``), from what the lake holds of it now, unless it exists.

    Raises ``UserError`` where it names no week, or one that has not ended.
    """
    week, newest = Week.named(name), Week(start=monday(lake.ledger.clock())).before
    if week > newest:
        raise UserError(f"{week.name} ends on {week.end:%Y-%m-%d} at 00:00 UTC; the newest whole week is {newest.name}")
    return write_week(lake, week, in_production(lake))


def in_production(lake: Lake) -> Production:
    """The lake's answer to which version of a model was in production at an instant."""
    from models.registry.registry import production

    return lambda model, at: baseline_name(production(lake.ledger, model, at))


def local_copy(lake: Lake, report: WeeklyReport) -> Path:
    """The page as a file in the lake's folder, fetched from the object store."""
    path = lake.settings.folder / report.object
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(lake.store.read(report.object))
    return path


def excerpt(page: str) -> str:
    """The content of a page, to be shown in a deck."""
    return style("weekly.css") + Markup(page[page.index("<header>") : page.index("<footer>")])  # noqa: S704


def two_weeks(lake: Lake, report: WeeklyReport, week: Week) -> tuple[Activities, Activities]:
    """The activities of the week and of the week before it, from the version of the report."""
    if not report.interactions:
        return Activities(), Activities()
    version = report.interactions[0]
    return activities(lake, version, week), activities(lake, version, week.before)


def _page(lake: Lake, week: Week, report: WeeklyReport, production: Production) -> str:
    """The whole page. It has no script and loads nothing."""
    now, before = two_weeks(lake, report, week)
    total = now.of(ALL)
    figures = {
        "interactions": total.interactions,
        "users": total.users,
        "latency p95": milliseconds(total.p95_ms),
        "failed": percentage(total.error_rate),
        "positive feedback": f"{percentage(total.positive)} of {total.rated:,}" if total.rated else "-",
        "tokens": total.tokens,
    }
    return render(
        "weekly.html",
        title=f"The agents' week {week.name}",
        styles=("weekly.css",),
        when=f"{week.start:%-d %B} to {week.end - timedelta(days=1):%-d %B %Y}, UTC",
        headline=headline(total, before.of(ALL)),
        cards=facts(figures),
        sections=[
            section("agents", "Agents", agents_section(now, before)),
            section("data", "Data", data_section(lake, week)),
            section("models", "Models", models_section(lake, week, production)),
        ],
        footer=f"Lake {lake.settings.lake}, {', '.join(map(str, report.interactions)) or 'nothing ingested yet'}.",
    )


def headline(now: Activity, before: Activity) -> str:
    """The week in a sentence or two."""
    if not now.interactions:
        return "The agents had no requests."
    requests = f"{now.users:,} users sent {now.interactions:,} requests"
    if before.interactions:
        change = round(100 * (now.interactions - before.interactions) / before.interactions)
        compared = f"{abs(change):,}% {'more' if change > 0 else 'fewer'} than" if change else "as many as"
        requests += f", {compared} the week before"
    failed, past = percentage(now.error_rate), percentage(before.error_rate)
    after = "" if before.error_rate is None else ", as before" if failed == past else f", after {past}"
    return f"{requests}. {failed} of the calls failed{after}."

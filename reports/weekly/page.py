"""The weekly report: one page that stands alone, about what the agents, the data and the models did in an ISO week.

It is written once. The week's entry in the chain ``reports`` fixes the version of the interactions first, so that a run
that was cut off is finished by the next with the same numbers. No user's text, no user ids.
"""

import contextlib
import html
import logging
from dataclasses import asdict, dataclass
from datetime import timedelta

from errors import ObjectExists
from lake.contracts.agent_interactions import AGENT_INTERACTIONS
from lake.lake import Lake
from lake.tables.versions import TableVersion
from reports.common.html import STYLE, facts
from reports.run_report import PAGE_STYLE
from reports.weekly.activity import ALL, Activities, Activity, Week, activities
from reports.weekly.sections import Live, compared, data, milliseconds, models, percentage, what_agents_did

log = logging.getLogger("fuelline.report")

CHAIN = "reports"


@dataclass(frozen=True, kw_only=True, slots=True)
class WeeklyReport:
    """Where a week's page is, and what it was made from."""

    week: str
    object: str
    """Its key in the object store."""
    interactions: list[TableVersion]
    """The version that was read; empty where nothing had been ingested."""


def write_week(lake: Lake, week: Week, live: Live) -> WeeklyReport:
    """Write the page of a week, unless it is there; returns where it is."""
    version = lake.tables.current(AGENT_INTERACTIONS)
    name = f"reports/weekly/{week.name}.html"
    pinned = {"week": week.name, "object": name, "interactions": [asdict(version)] if version else []}
    kept = lake.ledger.append(CHAIN, "weekly", f"weekly:{week.name}", pinned).payload
    report = WeeklyReport(**kept | {"interactions": [TableVersion(**one) for one in kept["interactions"]]})
    if not lake.store.exists(name):
        with contextlib.suppress(ObjectExists):
            lake.store.create(name, page(lake, week, next(iter(report.interactions), None), live).encode())
        log.info("%s: %s", week.name, name)
    return report


def excerpt(page: str) -> str:
    """What a page shows, to stand in a deck."""
    return WEEK_STYLE + page[page.index("<header>") : page.index("<footer>")]


def page(lake: Lake, week: Week, version: TableVersion | None, live: Live) -> str:
    """The whole page: no script, nothing fetched, fit to print."""
    last = Activities(agents={}, days={})
    now, before = (activities(lake, version, one) for one in (week, week.before)) if version else (last, last)
    title = f"The agents' week {week.name}"
    footer = f"Lake {lake.settings.lake}, {version or 'nothing ingested yet'}. Made by Fuelline."
    body = "".join(
        f'<section id="{slug}"><h2>{heading}</h2>{content}</section>'
        for slug, heading, content in (
            ("agents", "Agents", what_agents_did(now, before)),
            ("data", "Data", data(lake, week)),
            ("models", "Models", models(lake, week, live)),
        )
    )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width,initial-scale=1">{STYLE}{PAGE_STYLE}{WEEK_STYLE}</head>'
        f'<body><main class="fl">{_header(title, week, now, before)}{body}<footer>{html.escape(footer)}</footer>'
        "</main></body></html>"
    )


def _header(title: str, week: Week, now: Activities, before: Activities) -> str:
    last = week.end - timedelta(days=1)
    dates = f"{week.start:%-d %B} to {last:%-d %B %Y}, UTC"
    total, past = now.of(ALL), before.of(ALL)
    cards = {
        "interactions": f"{total.interactions:,}",
        "users": f"{total.users:,}",
        "latency p95": milliseconds(total.p95_ms),
        "failed": percentage(total.error_rate),
        "thumbs up": f"{percentage(total.liked)} of {total.rated:,}" if total.rated else "-",
        "tokens": f"{total.tokens:,}",
    }
    return (
        f'<header><p class="when">{dates}</p><h1>{html.escape(title)}</h1>'
        f'<p class="verdict">{html.escape(headline(total, past))}</p>{facts(cards)}</header>'
    )


def headline(now: Activity, before: Activity) -> str:
    """The week in a sentence or two."""
    if not now.interactions:
        return "Nobody asked the agents anything."
    told = f"{now.users:,} users asked {now.interactions:,} times"
    if before.interactions:
        told += f", {compared(now.interactions, before.interactions)} the week before"
    failed, past = percentage(now.error_rate), percentage(before.error_rate)
    after = "" if before.error_rate is None else ", as before" if failed == past else f", after {past}"
    return f"{told}. {failed} of the calls failed{after}."


WEEK_STYLE = """<style>
.fl header dl{grid-template-columns:repeat(auto-fit,minmax(260px,1fr))}
.fl section td:not(:last-child){white-space:nowrap;overflow-wrap:normal}
.fl td small{display:block;font-size:12px;line-height:1.3;color:#5b6776}
.fl td small.better{color:#00795a} .fl td small.worse{color:#b84a00}
</style>"""

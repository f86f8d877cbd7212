"""The curated layer: rebuilt where its inputs changed, on schedule or for a stated range."""

from datetime import datetime

from features.curated.build import Build
from tasks.environments import cpu
from tasks.runtime import due, lake, publish, publish_nothing_due


@cpu
def curate(tables: list[str], kickoff: datetime, every_minutes: int, schedule: str) -> list[Build]:
    """Rebuild what is due of each table, once a window; empty where an earlier run has done it."""
    from features.curated.run import build_named

    here = lake()
    done = due(
        here,
        schedule,
        lambda window: [build_named(here, name) for name in tables],
        kickoff=kickoff,
        every_minutes=every_minutes,
    )
    builds = [one for builds in done for one in builds]
    _show(builds)
    return builds


@cpu
def curate_range(table: str, first_day: datetime, last_day: datetime) -> Build:
    """Rebuild what is due of one table between two days (UTC, inclusive)."""
    from features.curated.run import build_named

    built = build_named(lake(), table, first=first_day.date(), last=last_day.date())
    _show([built])
    return built


def _show(builds: list[Build]) -> None:
    from reports.decks.features import curated_deck

    if builds:
        publish(40, "Curated", *curated_deck(lake(), builds))
    else:
        publish_nothing_due(40, "Curated")

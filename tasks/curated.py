"""The curated tables: rebuilt where their inputs have changed, on schedule or for a given range of days."""

from datetime import datetime

from features.curated.tables import Build
from tasks.environments import cpu
from tasks.runtime import due, publish, task_lake

CURATED = (40, "Curated")


@cpu
def curate(tables: list[str], kickoff: datetime, every_minutes: int, schedule: str) -> list[Build]:
    """Rebuild the outdated partitions of each table, once per window; empty if an earlier run has done it."""
    from features.curated.build import build_named

    lake = task_lake()
    when = (schedule, kickoff, every_minutes)
    windows = due(lake, *when, CURATED, lambda _: [build_named(lake, name) for name in tables])
    return _shown([build for builds in windows for build in builds])


@cpu
def curate_range(table: str, first_day: datetime, last_day: datetime) -> Build:
    """Rebuild the outdated partitions of one table between two days (UTC, inclusive)."""
    from features.curated.build import build_named

    return _shown([build_named(task_lake(), table, first=first_day.date(), last=last_day.date())])[0]


def _shown(builds: list[Build]) -> list[Build]:
    from reports.decks.features import curated_deck

    if builds:
        publish(*CURATED, *curated_deck(task_lake(), builds))
    return builds

"""The curated layer: rebuilt where its inputs changed, on schedule or for a stated range."""

from datetime import datetime

from features.curated.build import Build
from tasks.environments import cpu
from tasks.runtime import due, lake, publish


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
    from features.curated.numbers import newest_numbers
    from reports.charts.common import facts, heading, note, table

    parts: list[str] = []
    for one in builds:
        rebuilt = ", ".join(one.rebuilt[-3:]) or "nothing was due"
        parts += [heading(one.table), facts({"rebuilt": len(one.rebuilt), "newest of them": rebuilt})]
        for version in one.version:
            day, rows = newest_numbers(lake(), version)
            parts += [note(f"As of {day}, {version.rows:,} rows in all."), table(rows)]
    publish(40, "Curated", *(parts or [note("An earlier run has done the work of this one, or is at it.")]))

"""The curated tables for analysts and dashboards."""

from datetime import datetime

from flytekit import workflow

from features.curated.tables import Build
from tasks.curated import curate, curate_range

DAILY = ["curated.agent_performance_daily", "curated.user_interaction_summary", "ml.training_datasets"]
HOURLY = ["curated.cluster_health_hourly_v2"]


@workflow
def curation(
    kickoff: datetime, every_minutes: int = 1440, schedule: str = "curate_daily", tables: list[str] = DAILY
) -> list[Build]:
    """Rebuild every partition of the tables whose inputs have changed since it was built.

    Args:
        kickoff: the scheduled time.
        every_minutes: the time between two runs.
        schedule: the launch plan's name.
        tables: which curated tables.
    """
    return curate(tables=tables, kickoff=kickoff, every_minutes=every_minutes, schedule=schedule)


@workflow
def curated_backfill(table: str, first_day: datetime, last_day: datetime) -> Build:
    """Rebuild the outdated days of one curated table in a range; days that are up to date stay unchanged.

    Args:
        table: for example `curated.agent_performance_daily`.
        first_day: the first day (UTC).
        last_day: the last day (UTC), inclusive.
    """
    return curate_range(table=table, first_day=first_day, last_day=last_day)

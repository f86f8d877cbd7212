"""The schedules that keep the curated tables up to date with their inputs."""

from launchplans.schedule import on_demand, scheduled
from workflows.curated import DAILY, HOURLY, curated_backfill, curation

OWNER = "ml-platform"

curate_hourly = scheduled("curate_hourly", curation, "35 * * * *", owner=OWNER, fixed_inputs={"tables": HOURLY})
"""Half an hour after the agents' logs are ingested."""

curate_daily = scheduled("curate_daily", curation, "40 2 * * *", owner=OWNER, fixed_inputs={"tables": DAILY})
"""After the features of midnight; includes rows that arrived late for earlier days."""

curate_range = on_demand("curate_range", curated_backfill, owner=OWNER)
"""A given range of days of one table."""

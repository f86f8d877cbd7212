"""What keeps the curated layer in step with what it is made from."""

from launchplans.schedule import on_demand, scheduled
from workflows.curated import DAILY, HOURLY, curated_backfill, curation

OWNER = "ml-platform"

curate_hourly = scheduled("curate_hourly", curation, "35 * * * *", owner=OWNER, fixed_inputs={"tables": HOURLY})
"""Half an hour after the agents' logs came in."""

curate_daily = scheduled("curate_daily", curation, "40 2 * * *", owner=OWNER, fixed_inputs={"tables": DAILY})
"""After midnight's features, with what landed late for days gone by."""

curate_range = on_demand("curate_range", curated_backfill, owner=OWNER)
"""A stated range of days of one table."""

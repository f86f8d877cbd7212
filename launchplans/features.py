"""The schedules that compute the features and write them online, at the times that ``created_timestamp`` assumes, and
those that keep the curated tables up to date with their inputs.
"""

from launchplans.schedule import on_demand, scheduled
from workflows.curated import DAILY, HOURLY, curated_backfill, curation
from workflows.features import materialization, scheduled_features

OWNER = "ml-platform"
AGENTS, CLUSTERS, USERS = {"view": "agent_features"}, {"view": "infrastructure_features"}, {"view": "user_features"}

compute_features_hourly = scheduled("compute_features_hourly", scheduled_features, "15 * * * *", AGENTS, owner=OWNER)
"""At quarter past: computes what is due, and writes the agents' features online."""

compute_infrastructure_hourly = scheduled(
    "compute_infrastructure_hourly", scheduled_features, "30 * * * *", CLUSTERS, owner=OWNER
)
"""At half past, when the hour's last metrics and logs are ingested: writes the clusters' features online."""

materialize_daily = scheduled("materialize_daily", scheduled_features, "0 2 * * *", USERS, owner=OWNER)
"""At two: computes what is due, and writes the users' features of midnight online."""

materialize_on_demand = on_demand("materialize_on_demand", materialization, owner=OWNER)
"""Every feature view, now."""

curate_hourly = scheduled("curate_hourly", curation, "35 * * * *", {"tables": HOURLY}, owner=OWNER)
"""Half an hour after the agents' logs are ingested."""

curate_daily = scheduled("curate_daily", curation, "40 2 * * *", {"tables": DAILY}, owner=OWNER)
"""After the features of midnight; includes rows that arrived late for earlier days."""

curate_range = on_demand("curate_range", curated_backfill, owner=OWNER)
"""A given range of days of one table."""

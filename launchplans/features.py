"""The schedules that compute the features and write them online, at the times that ``created_timestamp`` assumes."""

from launchplans.schedule import on_demand, scheduled
from workflows.features import materialization, scheduled_features

OWNER = "ml-platform"

compute_features_hourly = scheduled(
    "compute_features_hourly",
    scheduled_features,
    "15 * * * *",
    owner=OWNER,
    fixed_inputs={"view": "agent_features"},
)
"""At quarter past: computes what is due, and writes the agents' features online."""

compute_infrastructure_hourly = scheduled(
    "compute_infrastructure_hourly",
    scheduled_features,
    "30 * * * *",
    owner=OWNER,
    fixed_inputs={"view": "infrastructure_features"},
)
"""At half past, when the hour's last metrics and logs are ingested: writes the clusters' features online."""

materialize_daily = scheduled(
    "materialize_daily", scheduled_features, "0 2 * * *", owner=OWNER, fixed_inputs={"view": "user_features"}
)
"""At two: computes what is due, and writes the users' features of midnight online."""

materialize_on_demand = on_demand("materialize_on_demand", materialization, owner=OWNER)
"""Every feature view, now."""

"""What keeps the features computed and online, at the times that their ``created_timestamp`` promises."""

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
"""A quarter past: what is due, and how the agents do goes online."""

compute_infrastructure_hourly = scheduled(
    "compute_infrastructure_hourly",
    scheduled_features,
    "30 * * * *",
    owner=OWNER,
    fixed_inputs={"view": "infrastructure_features"},
)
"""Half past, when the hour's last metrics and logs are in: how the clusters do goes online."""

materialize_daily = scheduled(
    "materialize_daily", scheduled_features, "0 2 * * *", owner=OWNER, fixed_inputs={"view": "user_features"}
)
"""At two: what is due, and what users have done by midnight goes online."""

materialize_on_demand = on_demand("materialize_on_demand", materialization, owner=OWNER)
"""Every view, now."""

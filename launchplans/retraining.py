"""What starts a retraining. Every trigger starts the one launch plan ``retraining``; thresholds, windows and profiles
are fixed inputs, shown in the console, and changing one is a new version.

The triggers check every hour and do not wait for a training: each check records one decision in the ledger, and many
decisions lead to one training.
"""

from typing import Any

from launchplans.schedule import on_demand, scheduled
from models.spec import ModelSpec, forge
from models.triggers.rules import DriftRule, ErrorRateRule, FeedbackRule, RetryBackoff, ScheduleRule, VolumeRule
from workflows.retraining import retraining as retraining_graph
from workflows.rollout import rollout_step as rollout_step_graph
from workflows.triggers import by_hand, on_drift, on_error_rate, on_feedback, on_schedule, on_volume

OWNER = "ml-platform"
COMMON: dict[str, Any] = {"spec": ModelSpec(), "profile": forge(), "source": "agents", "patience": RetryBackoff()}
"""Fixed inputs of every trigger beside its rule."""

retraining = on_demand(
    "retraining", retraining_graph, owner=OWNER, default_inputs={"profile": forge()}, one_at_a_time=True
)
"""The one retraining workflow. The plans below start it, with the decision that caused it."""

retrain_on_schedule = scheduled(
    "retrain_on_schedule",
    on_schedule,
    "5 * * * *",
    owner=OWNER,
    fixed_inputs={"rule": ScheduleRule(days=7.0), **COMMON},
)
"""Seven days after the data cut and the end of the last training."""

retrain_on_volume = scheduled(
    "retrain_on_volume",
    on_volume,
    "10 * * * *",
    owner=OWNER,
    fixed_inputs={"rule": VolumeRule(new_interactions=10_000), **COMMON},
)
"""More than 10,000 new interactions."""

retrain_on_error_rate = scheduled(
    "retrain_on_error_rate",
    on_error_rate,
    "15 * * * *",
    owner=OWNER,
    fixed_inputs={"rule": ErrorRateRule(rise=0.10), **COMMON},
)
"""The error rate is up by more than ten percent since the last training, with statistical significance."""

retrain_on_drift = scheduled(
    "retrain_on_drift",
    on_drift,
    "25 * * * *",
    owner=OWNER,
    fixed_inputs={"rule": DriftRule(sigma=2.0), **COMMON},
)
"""A feature has moved by more than two sigma; checked after the agents' features are computed."""

retrain_on_feedback = scheduled(
    "retrain_on_feedback",
    on_feedback,
    "35 * * * *",
    owner=OWNER,
    fixed_inputs={"rule": FeedbackRule(floor=3.5), **COMMON},
)
"""The weekly mean rating is under 3.5 of 5, and worse than at the last training."""

retrain_by_hand = on_demand("retrain_by_hand", by_hand, owner=OWNER, default_inputs={"profile": forge()})
"""Started by a person, who gives a name and a reason."""

rollout_step = scheduled("rollout_step", rollout_step_graph, "*/10 * * * *", owner=OWNER)
"""Every ten minutes; without an open rollout it ends at once."""

"""What starts a retraining. Every cause starts the one launch plan ``retraining``; thresholds, windows and profiles are
fixed inputs, shown in the console, and changing one is a new version.

The sensors look every hour and wait for nothing: each look is one decision in the ledger, and of many decisions comes
one training.
"""

from typing import Any

from launchplans.schedule import on_demand, scheduled
from models.spec import ModelSpec, forge
from models.triggers.rules import DriftRule, ErrorRateRule, FeedbackRule, Patience, ScheduleRule, VolumeRule
from workflows.retraining import retraining as retraining_graph
from workflows.rollout import rollout_step as rollout_step_graph
from workflows.triggers import by_hand, on_drift, on_error_rate, on_feedback, on_schedule, on_volume

OWNER = "ml-platform"
SAME: dict[str, Any] = {"spec": ModelSpec(), "profile": forge(), "source": "agents", "patience": Patience()}
"""What every sensor fixes beside its rule."""

retraining = on_demand(
    "retraining", retraining_graph, owner=OWNER, default_inputs={"profile": forge()}, one_at_a_time=True
)
"""The one graph. Started by the plans below, with the decision that caused it."""

retrain_on_schedule = scheduled(
    "retrain_on_schedule",
    on_schedule,
    "5 * * * *",
    owner=OWNER,
    fixed_inputs={"rule": ScheduleRule(days=7.0), **SAME},
)
"""Seven days after the data cut and the end of the last training."""

retrain_on_volume = scheduled(
    "retrain_on_volume",
    on_volume,
    "10 * * * *",
    owner=OWNER,
    fixed_inputs={"rule": VolumeRule(new_interactions=10_000), **SAME},
)
"""More than 10,000 new interactions."""

retrain_on_error_rate = scheduled(
    "retrain_on_error_rate",
    on_error_rate,
    "15 * * * *",
    owner=OWNER,
    fixed_inputs={"rule": ErrorRateRule(rise=0.10), **SAME},
)
"""The error rate up by more than ten percent against the last training, and not by chance."""

retrain_on_drift = scheduled(
    "retrain_on_drift",
    on_drift,
    "25 * * * *",
    owner=OWNER,
    fixed_inputs={"rule": DriftRule(sigma=2.0), **SAME},
)
"""A feature moved by more than two sigma, a quarter past the hour when the agents' features are there."""

retrain_on_feedback = scheduled(
    "retrain_on_feedback",
    on_feedback,
    "35 * * * *",
    owner=OWNER,
    fixed_inputs={"rule": FeedbackRule(floor=3.5), **SAME},
)
"""The weekly mean rating under 3.5 of 5, and worse than at the last training."""

retrain_by_hand = on_demand("retrain_by_hand", by_hand, owner=OWNER, default_inputs={"profile": forge()})
"""Started by a person, who says why and who it is."""

rollout_step = scheduled("rollout_step", rollout_step_graph, "*/10 * * * *", owner=OWNER)
"""Every ten minutes: with no rollout open it ends at once."""

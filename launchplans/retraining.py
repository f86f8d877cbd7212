"""What starts a retraining. Every trigger starts the one launch plan ``retraining``; thresholds, windows and profiles
are fixed inputs, shown in the console, and changing one is a new version.

The triggers check every hour and do not wait for a training: each check records one decision in the ledger, and many
decisions lead to one training.
"""

from dataclasses import replace

from flytekit import LaunchPlan
from flytekit.core.workflow import WorkflowBase

from launchplans.schedule import on_demand, scheduled
from models.spec import ModelSpec, forge
from models.triggers.rules import DriftRule, ErrorRateRule, FeedbackRule, RetryBackoff, Rule, ScheduleRule, VolumeRule
from models.tuning.plan import SearchSpace, TuningPlan
from workflows.retraining import retraining as retraining_graph
from workflows.rollout import rollout_step as rollout_step_graph
from workflows.triggers import by_hand, on_drift, on_error_rate, on_feedback, on_schedule, on_volume
from workflows.tuning import tuning

OWNER = "ml-platform"


def _hourly(name: str, workflow: WorkflowBase, minute: int, rule: Rule) -> LaunchPlan:
    common = {"spec": ModelSpec(), "profile": forge(), "source": "", "patience": RetryBackoff()}
    return scheduled(name, workflow, f"{minute} * * * *", {"rule": rule, **common}, owner=OWNER)


retraining = on_demand(
    "retraining", retraining_graph, owner=OWNER, default_inputs={"profile": forge()}, one_at_a_time=True
)
"""The one retraining workflow. The plans below start it, with the decision that caused it."""

retrain_on_schedule = _hourly("retrain_on_schedule", on_schedule, 5, ScheduleRule(days=7.0))
"""Seven days after the data cut and the end of the last training."""

retrain_on_volume = _hourly("retrain_on_volume", on_volume, 10, VolumeRule(new_interactions=10_000))
"""More than 10,000 new interactions."""

retrain_on_error_rate = _hourly("retrain_on_error_rate", on_error_rate, 15, ErrorRateRule(rise=0.10))
"""The error rate is up by more than ten percent since the last training, with statistical significance."""

retrain_on_drift = _hourly("retrain_on_drift", on_drift, 25, DriftRule(sigma=2.0))
"""A feature has moved by more than two sigma; checked after the agents' features are computed."""

retrain_on_feedback = _hourly("retrain_on_feedback", on_feedback, 35, FeedbackRule(floor=3.5))
"""The weekly mean rating is under 3.5 of 5, and worse than at the last training."""

retrain_by_hand = on_demand("retrain_by_hand", by_hand, owner=OWNER, default_inputs={"profile": forge()})
"""Started by a person, who gives a name and a reason."""

tune_by_hand = on_demand(
    "tune_by_hand",
    tuning,
    owner=OWNER,
    default_inputs={
        # A trial has one GPU and a retraining two; this makes the steps of both hold as many rows.
        "profile": replace(forge(), processes=2),
        "space": SearchSpace(learning_rate_low=5e-5, learning_rate_high=5e-3, lora_ranks=[8, 16, 32, 64]),
        "plan": TuningPlan(trials=16, validation_rows=0),
    },
)
"""Started by a person, who may set another profile, space or plan: it costs as much as several retrainings."""

rollout_step = scheduled("rollout_step", rollout_step_graph, "*/10 * * * *", owner=OWNER)
"""Every ten minutes; without an open rollout it ends at once."""

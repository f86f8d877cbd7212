"""The search over hyperparameters, started by a person: it costs as much as several retrainings."""

from dataclasses import replace

from launchplans.schedule import on_demand
from models.spec import forge
from models.tuning.plan import SearchSpace, TuningPlan
from workflows.tuning import tuning

tune_by_hand = on_demand(
    "tune_by_hand",
    tuning,
    owner="ml-platform",
    default_inputs={
        # A trial has one GPU and a retraining two; this makes the steps of both hold as many rows.
        "profile": replace(forge(), processes=2),
        "space": SearchSpace(learning_rate_low=5e-5, learning_rate_high=5e-3, lora_ranks=[8, 16, 32, 64]),
        "plan": TuningPlan(trials=16, validation_rows=0),
    },
)
"""Started by a person, who may set another profile, space or plan."""

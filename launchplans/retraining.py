"""What starts a retraining. Every cause starts the same graph; thresholds and profiles are fixed inputs, shown in
the console.
"""

from flytekit import CronSchedule, LaunchPlan

from models.spec import forge
from models.types import Cause
from workflows.retraining import retraining

retrain_by_hand = LaunchPlan.get_or_create(
    name="retrain_by_hand",
    workflow=retraining,
    default_inputs={"profile": forge()},
)
"""Started by a person, who says why in ``cause``."""

retrain_on_schedule = LaunchPlan.get_or_create(
    name="retrain_on_schedule",
    workflow=retraining,
    fixed_inputs={"profile": forge(), "cause": Cause(trigger="schedule", reason="every 7 days")},
    schedule=CronSchedule(schedule="0 3 * * 1"),
)
"""Every Monday at 03:00 UTC. It computes the features that are due; a late or doubled fire finds its work done."""

"""What looks after the tables."""

from flytekit import CronSchedule, LaunchPlan

from workflows.audit import audit

audit_daily = LaunchPlan.get_or_create(
    name="audit_daily",
    workflow=audit,
    default_inputs={},
    schedule=CronSchedule(schedule="30 4 * * *"),
)
"""Every day at 04:30 UTC."""

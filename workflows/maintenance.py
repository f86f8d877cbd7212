"""Table maintenance and retention: scheduled, and by hand with a dry run."""

from datetime import datetime

from flytekit import workflow

from lake.maintenance.run import MaintenancePolicy, TableMaintenance
from models.retraining.retire import Retention
from models.triggers.rules import RetryBackoff
from tasks.maintenance import care_due, care_for_tables, enforce_retention, retention_due


@workflow
def table_care(rule: MaintenancePolicy = MaintenancePolicy(), dry_run: bool = True) -> list[TableMaintenance]:
    """Compact every table, expire its snapshots and remove its orphan files now.

    Args:
        rule: which files are rewritten, and how long snapshots and orphans are kept.
        dry_run: only report what would be done.
    """
    return care_for_tables(rule=rule, dry_run=dry_run)


@workflow
def scheduled_table_care(
    kickoff: datetime,
    every_minutes: int = 1440,
    schedule: str = "care_daily",
    rule: MaintenancePolicy = MaintenancePolicy(),
) -> list[TableMaintenance]:
    """Compact every table, expire its snapshots and remove its orphan files, once a day.

    Args:
        kickoff: the scheduled time.
        every_minutes: the time between two runs.
        schedule: the launch plan's name.
        rule: which files are rewritten, and how long snapshots and orphans are kept.
    """
    return care_due(rule=rule, kickoff=kickoff, every_minutes=every_minutes, schedule=schedule)


@workflow
def retention(patience: RetryBackoff = RetryBackoff(), dry_run: bool = True) -> Retention:
    """Remove rows and objects past their contract's retention now, and retire the versions that were trained on them.

    Args:
        patience: how failed trainings are retried, when a successor is requested.
        dry_run: only report what would be removed, and which tags refer to it.
    """
    return enforce_retention(patience=patience, dry_run=dry_run)


@workflow
def scheduled_retention(
    kickoff: datetime,
    every_minutes: int = 1440,
    schedule: str = "retention_daily",
    patience: RetryBackoff = RetryBackoff(),
) -> list[Retention]:
    """Remove rows and objects past their contract's retention, and retire the versions that were trained on them.

    Args:
        kickoff: the scheduled time.
        every_minutes: the time between two runs.
        schedule: the launch plan's name.
        patience: how failed trainings are retried, when a successor is requested.
    """
    return retention_due(patience=patience, kickoff=kickoff, every_minutes=every_minutes, schedule=schedule)

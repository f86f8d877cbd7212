"""Care of the tables, and retention: by schedule, and by hand with a dry run."""

from datetime import datetime

from flytekit import workflow

from lake.maintenance.run import CareRule, Upkeep
from models.triggers.rules import Patience
from tasks.maintenance import Retention, care_due, care_for_tables, enforce_retention, retention_due


@workflow
def table_care(rule: CareRule = CareRule(), dry_run: bool = True) -> list[Upkeep]:
    """Compact, expire and clear up every table now.

    Args:
        rule: what is worth rewriting, and what is kept how long.
        dry_run: only tell what would be done.
    """
    return care_for_tables(rule=rule, dry_run=dry_run)


@workflow
def scheduled_table_care(
    kickoff: datetime, every_minutes: int = 1440, schedule: str = "care_daily", rule: CareRule = CareRule()
) -> list[Upkeep]:
    """Compact, expire and clear up every table, once a day.

    Args:
        kickoff: the scheduled time.
        every_minutes: the time between two fires.
        schedule: the launch plan's name.
        rule: what is worth rewriting, and what is kept how long.
    """
    return care_due(rule=rule, kickoff=kickoff, every_minutes=every_minutes, schedule=schedule)


@workflow
def retention(patience: Patience = Patience(), dry_run: bool = True) -> Retention:
    """Remove what is past its contract's retention now, and retire the versions that were trained on it.

    Args:
        patience: how failed trainings are borne with, when a successor is asked for.
        dry_run: only tell what would go, and which tags it is in.
    """
    return enforce_retention(patience=patience, dry_run=dry_run)


@workflow
def scheduled_retention(
    kickoff: datetime,
    every_minutes: int = 1440,
    schedule: str = "retention_daily",
    patience: Patience = Patience(),
) -> list[Retention]:
    """Remove what is past its contract's retention, and retire the versions that were trained on it.

    Args:
        kickoff: the scheduled time.
        every_minutes: the time between two fires.
        schedule: the launch plan's name.
        patience: how failed trainings are borne with, when a successor is asked for.
    """
    return retention_due(patience=patience, kickoff=kickoff, every_minutes=every_minutes, schedule=schedule)

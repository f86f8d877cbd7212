"""Table maintenance every day, and retention, which retires the versions that were trained on removed rows."""

from datetime import datetime

from lake.maintenance.run import MaintenancePolicy, TableMaintenance
from models.retraining.retire import Retention
from models.triggers.rules import RetryBackoff
from tasks.environments import cpu
from tasks.runtime import due, log, publish, task_lake

MAINTENANCE, RETENTION = (91, "Table care"), (92, "Retention")


@cpu
def care_for_tables(rule: MaintenancePolicy, dry_run: bool) -> list[TableMaintenance]:
    """Compact every table, expire its snapshots and remove orphan files; with ``dry_run`` only report it."""
    from lake.maintenance.run import maintain_all

    return _maintained(maintain_all(task_lake(), rule, dry_run=dry_run))


@cpu
def care_due(rule: MaintenancePolicy, kickoff: datetime, every_minutes: int, schedule: str) -> list[TableMaintenance]:
    """The same, once per window; empty if an earlier run has done it."""
    from lake.maintenance.run import maintain_all

    lake = task_lake()
    windows = due(lake, schedule, kickoff, every_minutes, MAINTENANCE, lambda _: maintain_all(lake, rule))
    return _maintained(windows[-1]) if windows else []


@cpu
def enforce_retention(patience: RetryBackoff, dry_run: bool) -> Retention:
    """Retire what was trained on rows past their retention, remove the rows, request successors; or only report it."""
    from models.retraining.retire import enforce

    lake = task_lake()
    return _enforced(enforce(lake, lake.ledger.clock(), patience, dry_run=dry_run))


@cpu
def retention_due(patience: RetryBackoff, kickoff: datetime, every_minutes: int, schedule: str) -> list[Retention]:
    """The same, once per window; empty if an earlier run has done it."""
    from models.retraining.retire import enforce

    lake = task_lake()
    windows = due(lake, schedule, kickoff, every_minutes, RETENTION, lambda window: enforce(lake, window.end, patience))
    return [_enforced(retention) for retention in windows]


def _maintained(tables: list[TableMaintenance]) -> list[TableMaintenance]:
    from reports.decks.maintenance import maintenance_deck

    for table in tables:
        changes = (table.before.files, table.after.files, table.before.snapshots, table.after.snapshots, table.orphans)
        log.info("%s: %d files to %d, %d snapshots to %d, %d orphans", table.table, *changes)
    if tables:
        publish(*MAINTENANCE, *maintenance_deck(tables))
    return tables


def _enforced(retention: Retention) -> Retention:
    from reports.decks.maintenance import retention_deck

    change = "would be removed" if retention.dry_run else "removed"
    for past in retention.due:
        log.info("%s: %d rows before %s %s", past.data_set, past.rows, past.cut, change)
    publish(*RETENTION, *retention_deck(retention.due, retention.retired, retention.successors))
    return retention

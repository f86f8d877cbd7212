"""The daily maintenance of one table: compact, expire snapshots, remove orphans, and measure it before and after.

In this order, because compaction leaves snapshots to expire, and expiry leaves files that nothing refers to. Each step
is safe beside writers and may be interrupted anywhere: the next run continues.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from lake.contracts import contracts
from lake.contracts.base import Contract
from lake.lake import Lake
from lake.maintenance.compaction import CompactionPolicy, CompactionResult, compact
from lake.maintenance.expiry import expire
from lake.maintenance.orphans import Orphans, remove_orphans
from lake.tables.properties import MAINTENANCE
from lake.tables.versions import TableVersion

RETENTION = "retention"
"""Value of ``MAINTENANCE`` in the summary of a commit that removed rows past their retention."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MaintenancePolicy:
    """How tables are maintained."""

    keep_days: int = 7
    """Age at which snapshots without a tag expire; a run that pinned one may take this long."""
    grace_days: int = 3
    """Younger objects are never taken for orphans: they may belong to a commit in progress."""
    compaction: CompactionPolicy = field(default_factory=CompactionPolicy)
    files: bool = True
    """Whether to compact and to remove orphans. Off where Trino does both: see ``fuelline docs trino-maintenance``."""

    def __post_init__(self) -> None:
        if self.keep_days < 1 or self.grace_days < 1:
            raise ValueError(f"keep_days and grace_days are at least 1, not {self.keep_days} and {self.grace_days}")


@dataclass(frozen=True, kw_only=True, slots=True)
class TableSize:
    """What a read and a commit have to open, from the table's metadata."""

    rows: int
    files: int
    mean_mb: float
    """Of a data file."""
    manifests: int
    snapshots: int


@dataclass(frozen=True, kw_only=True, slots=True)
class TableMaintenance:
    """What a run did to a table, or would do."""

    table: str
    before: TableSize
    after: TableSize
    compacted: CompactionResult
    expired: int
    """Snapshots."""
    orphans: int
    """Objects."""
    orphan_mb: float


def run_maintenance(
    lake: Lake, contract: Contract, rule: MaintenancePolicy, *, dry_run: bool = False
) -> TableMaintenance | None:
    """Maintain one table; None if it has never been written to.

    Raises:
        CommitContended: writers won every race.
        IntegrityError: a rewritten file or the table's own metadata are wrong.
    """
    if (current := lake.tables.current(contract)) is None:
        return None
    before = _size(lake, contract, current)
    compacted, orphans = CompactionResult(), Orphans(keys=(), bytes=0)
    if rule.files:
        compacted = compact(lake.tables, contract, rule.compaction, dry_run=dry_run)
    expired = _expire(lake, contract, timedelta(days=rule.keep_days), dry_run=dry_run)
    if rule.files:
        orphans = remove_orphans(lake, contract, grace=timedelta(days=rule.grace_days), dry_run=dry_run)
    return TableMaintenance(
        table=contract.table,
        before=before,
        after=_size(lake, contract, lake.tables.current(contract) or current),
        compacted=compacted,
        expired=expired,
        orphans=len(orphans.keys),
        orphan_mb=orphans.bytes / 1e6,
    )


def _size(lake: Lake, contract: Contract, version: TableVersion) -> TableSize:
    table = lake.tables.load(contract.table)
    snapshot = table.snapshot_by_id(version.snapshot_id)
    summary = snapshot.summary if snapshot and snapshot.summary else {}
    files, size = int(summary.get("total-data-files") or 0), int(summary.get("total-files-size") or 0)
    return TableSize(
        rows=version.rows,
        files=files,
        mean_mb=size / files / 1e6 if files else 0.0,
        manifests=len(snapshot.manifests(table.io)) if snapshot else 0,
        snapshots=len(table.snapshots()),
    )


def _expire(lake: Lake, contract: Contract, keep: timedelta, *, dry_run: bool) -> int:
    """Expire by age. A set of rows that is found by its key (a training set) is read from the snapshot that added it,
    whatever its age; in such a table only the snapshots before the last removal by retention expire.
    """
    limit = lake.ledger.clock() - keep
    if contract.day_column:
        return len(expire(lake.tables, contract, limit, dry_run=dry_run))
    removals = [
        snapshot.timestamp_ms / 1000
        for snapshot in lake.tables.snapshots(contract)
        if snapshot.summary and snapshot.summary.additional_properties.get(MAINTENANCE) == RETENTION
    ]
    if not (past := [instant for instant in removals if instant < limit.timestamp()]):
        return 0
    return len(expire(lake.tables, contract, datetime.fromtimestamp(max(past), UTC), dry_run=dry_run))


def maintain_all(lake: Lake, rule: MaintenancePolicy, *, dry_run: bool = False) -> list[TableMaintenance]:
    """Maintain every table that exists."""
    tables = (run_maintenance(lake, contract, rule, dry_run=dry_run) for contract in contracts().values())
    return [table for table in tables if table]

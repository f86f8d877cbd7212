"""The daily round of one table: compact, expire, remove orphans, and say what it looked like before and after.

In this order, because compaction leaves snapshots to expire, and expiry leaves files that nothing refers to. Each step
is safe beside writers and may be broken off anywhere: the next round goes on.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from lake.contracts import contracts
from lake.contracts.base import Contract
from lake.lake import Lake
from lake.maintenance.compaction import Compacted, CompactionRule, compact
from lake.maintenance.expiry import expire
from lake.maintenance.orphans import Orphans, remove_orphans
from lake.tables.properties import MAINTENANCE
from lake.tables.versions import TableVersion

RETENTION = "retention"
"""What ``MAINTENANCE`` says of a commit that took out rows past their retention."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CareRule:
    """How a table is looked after."""

    keep_days: int = 7
    """Snapshots that no tag protects expire at this age; a run that pinned one may take as long."""
    grace_days: int = 3
    """What is younger is never taken for an orphan: it may belong to a commit in flight."""
    compaction: CompactionRule = field(default_factory=CompactionRule)
    files: bool = True
    """Compact, and remove orphans. Off where Trino does both; see ``fuelline docs trino-maintenance``."""

    def __post_init__(self) -> None:
        if self.keep_days < 1 or self.grace_days < 1:
            raise ValueError(f"keep_days and grace_days are at least 1, not {self.keep_days} and {self.grace_days}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """What a read and a commit have to open, from the metadata alone."""

    rows: int
    files: int
    mean_mb: float
    """Mean size of a data file (MB)."""
    manifests: int
    snapshots: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Upkeep:
    """What a round did to a table, or would do."""

    table: str
    before: Shape
    after: Shape
    compacted: Compacted
    expired: int
    """Snapshots."""
    orphans: int
    """Objects."""
    orphan_mb: float


def look_after(lake: Lake, contract: Contract, rule: CareRule, *, dry_run: bool = False) -> Upkeep | None:
    """Do the round; None where the table has never been written to.

    Raises:
        CommitContended: writers won every race.
        IntegrityError: a rewritten file, or the table's own metadata, are not what they should be.
    """
    if (current := lake.tables.current(contract)) is None:
        return None
    before = shape(lake, contract, current)
    compacted, orphans = Compacted(), Orphans(keys=(), bytes=0, kept=0)
    if rule.files:
        compacted = compact(lake.tables, contract, rule.compaction, dry_run=dry_run)
    expired = _expire(lake, contract, timedelta(days=rule.keep_days), dry_run=dry_run)
    if rule.files:
        orphans = remove_orphans(lake, contract, grace=timedelta(days=rule.grace_days), dry_run=dry_run)
    return Upkeep(
        table=contract.table,
        before=before,
        after=shape(lake, contract, lake.tables.current(contract) or current),
        compacted=compacted,
        expired=expired,
        orphans=len(orphans.keys),
        orphan_mb=orphans.bytes / 1e6,
    )


def shape(lake: Lake, contract: Contract, version: TableVersion) -> Shape:
    """The table as of a version."""
    table = lake.tables.load(contract.table)
    snapshot = table.snapshot_by_id(version.snapshot_id)
    told = snapshot.summary if snapshot and snapshot.summary else {}
    files, size = int(told.get("total-data-files") or 0), int(told.get("total-files-size") or 0)
    return Shape(
        rows=version.rows,
        files=files,
        mean_mb=size / files / 1e6 if files else 0.0,
        manifests=len(snapshot.manifests(table.io)) if snapshot else 0,
        snapshots=len(table.snapshots()),
    )


def _expire(lake: Lake, contract: Contract, keep: timedelta, *, dry_run: bool) -> int:
    """By age. A set of rows that is found again by its key (a training set) is read from the snapshot that brought
    it, however old; there only what retention has overtaken expires.
    """
    limit = lake.ledger.clock() - keep
    if contract.day_column:
        return len(expire(lake.tables, contract, limit, dry_run=dry_run))
    taken = [
        one.timestamp_ms / 1000
        for one in lake.tables.snapshots(contract)
        if one.summary and one.summary.additional_properties.get(MAINTENANCE) == RETENTION
    ]
    overtaken = [instant for instant in taken if instant < limit.timestamp()]
    if not overtaken:
        return 0
    return len(expire(lake.tables, contract, datetime.fromtimestamp(max(overtaken), UTC), dry_run=dry_run))


def maintain_all(lake: Lake, rule: CareRule, *, dry_run: bool = False) -> list[Upkeep]:
    """``look_after`` every table that exists."""
    tables = (look_after(lake, contract, rule, dry_run=dry_run) for contract in contracts().values())
    return [table for table in tables if table]

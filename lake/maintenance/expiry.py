"""The tables' snapshots: new rows are counted from them, and old ones expire so that commits stay fast.

A trigger counts the rows that were appended since the snapshot of a model's last training, from the snapshots'
summaries alone. Expiry never passes the oldest snapshot that a model counts from, or the count would lack the rows of
the expired commits. Where that snapshot itself has to go, because retention removes its rows, the count continues from
a bookmark: a table property with a later snapshot and the number of rows in between.
"""

from datetime import datetime
from typing import TYPE_CHECKING

from errors import UnknownName
from lake.contracts.base import Contract
from lake.tables.commit import retry_commit
from lake.tables.commit_keys import KeyedCommit, keep_marker
from lake.tables.properties import MAINTENANCE
from lake.tables.tables import Tables
from lake.tables.versions import TableVersion

if TYPE_CHECKING:
    from pyiceberg.table import Table
    from pyiceberg.table.snapshots import Snapshot

BOOKMARK = "fuelline.counted."
"""Prefix of the property that replaces a removed snapshot which rows are counted from."""
COUNTED_FROM = "trained-"
"""Prefix of the tag on the snapshot that a model was last trained on: ``trained-agents``."""


def added_rows(tables: Tables, contract: Contract, since: TableVersion | None) -> int:
    """Rows that were appended since a version, or ever if it is None; from the snapshots' summaries alone.

    Commits of maintenance (compaction, retention) are not counted.

    Raises:
        UnknownName: the snapshot has expired, or the table's history does not lead back to it.
    """
    try:
        table = tables.load(contract.table)
    except UnknownName:
        return 0
    return added_since(table, contract, since.snapshot_id if since else None)


def added_since(table: "Table", contract: Contract, since: int | None) -> int:
    """The same for a loaded table, since one of its snapshots."""
    known = {snapshot.snapshot_id: snapshot for snapshot in table.snapshots()}
    current, added = table.metadata.current_snapshot_id, 0
    while current is not None and current != since and (snapshot := known.get(current)):
        added += _added(snapshot)
        current = snapshot.parent_snapshot_id
    if since is None or current == since:
        return added
    if bookmark := table.properties.get(f"{BOOKMARK}{since}"):
        anchor, between = map(int, bookmark.split(":"))
        return between + added_since(table, contract, anchor)
    name = contract.table
    raise UnknownName("snapshot", f"{name}@{since}", (f"{name}@{snapshot_id}" for snapshot_id in known))


def expire(tables: Tables, contract: Contract, older_than: datetime, *, dry_run: bool = False) -> list[int]:
    """Expire the snapshots committed before ``older_than`` (UTC), but none that a model counts from and none after it.

    The newest snapshot and tagged ones stay. No data file is deleted. Returns the ids of those that expired, or would.

    Raises:
        UnknownName: there is no such table.
        CommitContended: writers won every race.
    """

    def attempt() -> list[int]:
        table = tables.load(contract.table)
        old = _expired(table, older_than)
        ids = [snapshot.snapshot_id for snapshot in old]
        if ids and not dry_run:
            for snapshot in old:  # a writer that was killed after its commit has left no marker for a late retry
                keep_marker(tables.store, KeyedCommit.of(contract.table, snapshot))
            table.maintenance.expire_snapshots().by_ids(ids).commit()
        return ids

    return retry_commit(attempt, contract.table, "the expiry of snapshots")


def _expired(table: "Table", older_than: datetime) -> "list[Snapshot]":
    refs = table.refs()
    counted = [refs[name].snapshot_id for name in refs if name.startswith(COUNTED_FROM)]
    held = [snapshot.sequence_number for snapshot in table.snapshots() if snapshot.snapshot_id in counted]
    limit = min((number for number in held if number is not None), default=None)
    protected = {ref.snapshot_id for ref in refs.values()}
    return [
        snapshot
        for snapshot in table.snapshots()
        if snapshot.timestamp_ms < older_than.timestamp() * 1000
        and snapshot.snapshot_id not in protected
        and (limit is None or (snapshot.sequence_number or 0) < limit)
    ]


def _added(snapshot: "Snapshot") -> int:
    from pyiceberg.table.snapshots import Operation

    summary = snapshot.summary
    if not summary or summary.operation is not Operation.APPEND or MAINTENANCE in summary.additional_properties:
        return 0
    return int(summary["added-records"] or 0)

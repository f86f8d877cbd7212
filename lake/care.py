"""Care of the tables' history: what is new is counted from it, and old snapshots expire so that commits stay fast.

A trigger counts the rows that came since the snapshot of a model's last training, from the snapshots' summaries alone.
Expiry never passes the oldest snapshot that a model counts from, or the count would be short by what the expired
commits had brought.
"""

from datetime import datetime
from typing import TYPE_CHECKING

from errors import UnknownName
from lake.contracts.base import Contract
from lake.tables import MAINTENANCE, Tables
from lake.versions import TableVersion

if TYPE_CHECKING:
    from pyiceberg.table.snapshots import Snapshot

COUNTED_FROM = "trained-"
"""Starts the name of the tag on the snapshot that a model was last trained on: ``trained-agents``."""


def added_rows(tables: Tables, contract: Contract, since: TableVersion | None) -> int:
    """Rows that appends brought since a version, ever where it is None; from the snapshots' summaries alone.

    What maintenance writes (compaction, erasure) counts for nothing, in either direction.

    Raises:
        UnknownName: the snapshot has expired, or the table's history does not lead back to it.
    """
    try:
        table = tables.load(contract.table)
    except UnknownName:
        return 0
    known = {one.snapshot_id: one for one in table.snapshots()}
    at, stop, added = table.metadata.current_snapshot_id, since and since.snapshot_id, 0
    while at is not None and at != stop and (snapshot := known.get(at)):
        added += _added(snapshot)
        at = snapshot.parent_snapshot_id
    if since is not None and at != stop:
        raise UnknownName("snapshot", str(since), (f"{contract.table}@{one}" for one in known))
    return added


def expire(tables: Tables, contract: Contract, older_than: datetime, *, dry_run: bool = False) -> list[int]:
    """Expire the snapshots committed before ``older_than`` (UTC), but none that a model counts from, nor any after it.

    The newest snapshot and tagged ones stay. Data files are not touched.

    Returns:
        The snapshots that expired, or would.

    Raises:
        UnknownName: there is no such table.
    """
    table = tables.load(contract.table)
    refs = table.refs()
    counted = [refs[name].snapshot_id for name in refs if name.startswith(COUNTED_FROM)]
    held = [snapshot.sequence_number for snapshot in table.snapshots() if snapshot.snapshot_id in counted]
    limit = min((number for number in held if number is not None), default=None)
    protected = {ref.snapshot_id for ref in refs.values()}
    old = [
        snapshot.snapshot_id
        for snapshot in table.snapshots()
        if snapshot.timestamp_ms < older_than.timestamp() * 1000
        and snapshot.snapshot_id not in protected
        and (limit is None or (snapshot.sequence_number or 0) < limit)
    ]
    if old and not dry_run:
        table.maintenance.expire_snapshots().by_ids(old).commit()
    return old


def _added(snapshot: "Snapshot") -> int:
    from pyiceberg.table.snapshots import Operation

    summary = snapshot.summary
    if not summary or summary.operation is not Operation.APPEND or MAINTENANCE in summary.additional_properties:
        return 0
    return int(summary["added-records"] or 0)

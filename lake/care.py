"""Care of the tables: old snapshots expire, so that loading and committing stay fast; what is counted from does not.

A trigger counts the rows that came since the snapshot of a model's last training. Expiry never passes the oldest
snapshot that a model counts from, or the count would be short by what the expired commits had brought.
"""

from datetime import datetime

from lake.contracts.base import Contract
from lake.tables import Tables

COUNTED_FROM = "trained-"
"""Starts the name of the tag on the snapshot that a model was last trained on: ``trained-agents``."""


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

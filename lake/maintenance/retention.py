"""Retention: rows older than their contract's days leave the table, the snapshots that models use, and the raw zone.

A tag protects a snapshot from expiry, not from retention: it is moved to a branch of the snapshot without those rows.
The tags that will lose rows are known before anything is removed, so that the models that use them are retired first: a
run that dies in between finds the same rows again, and no model remains in use whose data are gone.

A tag that a trigger counts new rows from (``trained-*``) keeps no old rows either: it moves to the table's newest
snapshot, with a bookmark of the rows in between, so that the count continues unchanged.

The rows leave every table and tag at once. Their files are deleted when the older snapshots have expired and orphans
have been removed, at most ``keep_days + grace_days`` of the daily maintenance later.
"""

from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

from lake.contracts.base import Contract
from lake.lake import Lake
from lake.maintenance.expiry import BOOKMARK, COUNTED_FROM, added_since
from lake.maintenance.run import RETENTION
from lake.store.ledger import Entry
from lake.tables.commit import retry_commit
from lake.tables.properties import MAINTENANCE

if TYPE_CHECKING:
    from pyiceberg.expressions import BooleanExpression
    from pyiceberg.table import Table


@dataclass(frozen=True, kw_only=True, slots=True)
class RetentionDue:
    """The data of one data set that are past its retention."""

    data_set: str
    at: str
    """Time of the check (ISO 8601)."""
    cut: str
    """Rows before this day (UTC midnight, ISO 8601) are removed."""
    rows: int
    """In the newest snapshot."""
    first: str
    """Day of the oldest of them, empty if there are none; the newest is of the day before ``cut``."""
    tags: list[str]
    """Tags that a model uses, such as ``agents-v3``, whose snapshots have such rows."""
    tagged_rows: int
    """Sum of their rows; mostly the same rows several times."""
    raw_objects: int

    @property
    def empty(self) -> bool:
        """Whether there is nothing to remove."""
        return not (self.rows or self.tags or self.raw_objects)


def cutoff(contract: Contract, now: datetime) -> date:
    """The day before which rows are removed, the same for a whole week: rows that will be past their retention by the
    coming Monday are removed now. So no row is kept longer than its contract says, and models that use the oldest rows
    are retired once a week and not every day.
    """
    today = now.astimezone(UTC).date()
    return today + timedelta(days=7 - today.weekday()) - timedelta(days=contract.retention_days)


def find_due(lake: Lake, contract: Contract, now: datetime) -> RetentionDue:
    """Find what is past its retention. Reads metadata, and one column of the days concerned."""
    cut = cutoff(contract, now)
    current = lake.tables.current(contract)
    table = lake.tables.load(contract.table) if current else None
    counts = {name: _count(table, contract, cut, name) for name in _tags(table)} if table else {}
    rows = _count(table, contract, cut) if table else 0
    return RetentionDue(
        data_set=contract.name,
        at=now.isoformat(),
        cut=cut.isoformat(),
        rows=rows,
        first=_first(table, contract, cut) if table and rows else "",
        tags=sorted(name for name, count in counts.items() if count),
        tagged_rows=sum(counts.values()),
        raw_objects=len(_raw(lake, contract, cut)),
    )


def remove_due(lake: Lake, contract: Contract, due: RetentionDue) -> Entry:
    """Remove what is due, and record it in the ledger: counts, days and snapshots, no user's data.

    What was found is recorded first and what was removed last, so that a run which died in between leaves its figures,
    and a retry adds none. Models that use ``due.tags`` have to be retired before.

    Raises:
        CommitContended: writers won every race.
    """
    chain, cut = f"retention/{contract.name}", date.fromisoformat(due.cut)
    found = lake.ledger.append(chain, "retention_due", f"due:{due.at}", asdict(due))
    moved: dict[str, list[int]] = {}
    if lake.tables.current(contract):
        _delete_current(lake, contract, cut)
        for name in _tags(lake.tables.load(contract.table), counted=True):
            if pair := _move(lake, contract, cut, name):
                moved[name] = pair
    for key in _raw(lake, contract, cut):
        lake.store.delete(key)
    return lake.ledger.append(chain, "retention_done", f"done:{due.at}", {**found.payload, "moved": moved})


def _delete_current(lake: Lake, contract: Contract, cut: date) -> None:
    def attempt() -> bool:
        table = lake.tables.load(contract.table)
        if _count(table, contract, cut):
            table.delete(_before(contract, cut), snapshot_properties={MAINTENANCE: RETENTION})
        return True

    retry_commit(attempt, contract.table, f"the deletion of rows before {cut}")


def _move(lake: Lake, contract: Contract, cut: date, tag: str) -> list[int]:
    """Move a tag to a snapshot without the rows; returns the ids of both, or nothing if it has no such rows."""

    def attempt() -> list[int]:
        table = lake.tables.load(contract.table)
        if not _count(table, contract, cut, tag):
            return []
        old = table.refs()[tag].snapshot_id
        counted = tag.startswith(COUNTED_FROM)
        return [old, _bookmark(table, contract, tag) if counted else _branch(table, contract, cut, tag)]

    return retry_commit(attempt, contract.table, f"moving the tag {tag}")


def _branch(table: "Table", contract: Contract, cut: date, tag: str) -> int:
    """Move the tag to a branch of its snapshot without the rows. A branch of an interrupted run is replaced."""
    branch = f"retention-{tag}"
    table.manage_snapshots().create_branch(table.refs()[tag].snapshot_id, branch).commit()
    table.delete(_before(contract, cut), branch=branch, snapshot_properties={MAINTENANCE: RETENTION})
    new = table.refs()[branch].snapshot_id
    table.manage_snapshots().create_tag(new, tag).remove_branch(branch).commit()
    return new


def _bookmark(table: "Table", contract: Contract, tag: str) -> int:
    """Move the tag to the newest snapshot, and keep the number of rows in between as a table property."""
    from pyiceberg.table.update.snapshot import ManageSnapshots

    old, new = table.refs()[tag].snapshot_id, table.metadata.current_snapshot_id
    assert new is not None, "a table with a tag has a snapshot"
    with table.transaction() as transaction:
        transaction.set_properties({f"{BOOKMARK}{old}": f"{new}:{added_since(table, contract, old)}"})
        ManageSnapshots(transaction).create_tag(new, tag).commit()
    return new


def _tags(table: "Table", *, counted: bool = False) -> list[str]:
    """Names of the tags that a model uses; with ``counted`` also those that new rows are counted from."""
    refs = {name for name, ref in table.refs().items() if ref.snapshot_ref_type == "tag"}
    return sorted(name for name in refs if counted or not name.startswith(COUNTED_FROM))


def _before(contract: Contract, cut: date) -> "BooleanExpression":
    from pyiceberg.expressions import LessThan

    return LessThan(contract.time_column, datetime(cut.year, cut.month, cut.day, tzinfo=UTC).isoformat())


def _count(table: "Table", contract: Contract, cut: date, ref: str = "") -> int:
    """Rows before the cut, from the files' statistics where those suffice."""
    scan = table.scan(row_filter=_before(contract, cut), selected_fields=(contract.time_column,))
    return int((scan.use_ref(ref) if ref else scan).count())


def _first(table: "Table", contract: Contract, cut: date) -> str:
    """Day of the oldest row."""
    import pyarrow.compute as pc

    scan = table.scan(row_filter=_before(contract, cut), selected_fields=(contract.time_column,))
    oldest = [pc.min(batch.column(0)).as_py() for batch in scan.to_arrow_batch_reader() if batch.num_rows]
    return min(oldest).astimezone(UTC).date().isoformat()


def _raw(lake: Lake, contract: Contract, cut: date) -> list[str]:
    """Raw objects that landed before the cut: none of their rows remains in a table."""
    if not contract.source:
        return []
    prefix = f"raw/{contract.source}/"
    return [key for key in lake.store.list(prefix) if key.split("/")[-2] < cut.isoformat()]

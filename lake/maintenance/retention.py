"""Retention: rows past their contract's days leave the table, the snapshots that a model stands on, and the raw zone.

A tag protects a snapshot from expiry, not from retention: the tag is moved to a branch of the snapshot without those
rows. Which tags lose rows is told before anything is removed, so that whoever stands on them is retired first: a run
that dies in between finds the same rows again, and nobody keeps on living on data that are gone.

What a trigger counts new rows from (``trained-*``) keeps no rows either: its tag moves to the table's newest snapshot,
with a bookmark of what had come since, so the count goes on as if nothing had happened.

The rows are out of every table and tag at once; their files go when the snapshots before have expired and the search
for orphans has passed, at most ``keep_days + grace_days`` of the daily round later.
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
class Due:
    """What of one data set is past its retention."""

    data_set: str
    at: str
    """When it was looked at (ISO 8601)."""
    cut: str
    """Rows before this day (UTC midnight, ISO 8601) have to go."""
    rows: int
    """In the newest snapshot."""
    first: str
    """Day of the oldest of them, empty without any; the newest is of the day before the cut."""
    tags: list[str]
    """Tags that a model stands on, such as ``agents-v3``, whose snapshots hold such rows."""
    tagged_rows: int
    """Rows that those hold together; mostly the same ones again."""
    raw_objects: int

    @property
    def nothing(self) -> bool:
        """Whether there is nothing to do."""
        return not (self.rows or self.tags or self.raw_objects)


def cut_of(contract: Contract, now: datetime) -> date:
    """The day before which rows have to go, one week long the same: what will be past its retention by the coming
    Monday goes now. So no row is kept for longer than its contract says, and a model that stands on the oldest rows
    is retired once a week and not every day.
    """
    today = now.astimezone(UTC).date()
    return today + timedelta(days=7 - today.weekday()) - timedelta(days=contract.retention_days)


def find_due(lake: Lake, contract: Contract, now: datetime) -> Due:
    """What has to go now. Reads metadata, and of the days in question one column."""
    cut = cut_of(contract, now)
    current = lake.tables.current(contract)
    table = lake.tables.load(contract.table) if current else None
    counts = {name: _count(table, contract, cut, name) for name in _tags(table)} if table else {}
    rows = _count(table, contract, cut) if table else 0
    return Due(
        data_set=contract.name,
        at=now.isoformat(),
        cut=cut.isoformat(),
        rows=rows,
        first=_first(table, contract, cut) if table and rows else "",
        tags=sorted(name for name, count in counts.items() if count),
        tagged_rows=sum(counts.values()),
        raw_objects=len(_raw(lake, contract, cut)),
    )


def remove(lake: Lake, contract: Contract, due: Due) -> Entry:
    """Remove what is due, and write down how much of what that was: counts, days and snapshots, nobody's data.

    What was found is written first and what was done last, so that a run which died in between leaves its figures, and
    one that is tried again adds none. Models that stand on ``due.tags`` have to be retired before.

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
    """Move a tag to a snapshot without the rows; the ids of both, or nothing where it has none of them."""

    def attempt() -> list[int]:
        table = lake.tables.load(contract.table)
        if not _count(table, contract, cut, tag):
            return []
        old = table.refs()[tag].snapshot_id
        counted = tag.startswith(COUNTED_FROM)
        return [old, _bookmark(table, contract, tag) if counted else _branch(table, contract, cut, tag)]

    return retry_commit(attempt, contract.table, f"moving the tag {tag}")


def _branch(table: "Table", contract: Contract, cut: date, tag: str) -> int:
    """The tag's snapshot without the rows. A branch that an earlier run left half done is begun anew."""
    branch = f"retention-{tag}"
    table.manage_snapshots().create_branch(table.refs()[tag].snapshot_id, branch).commit()
    table.delete(_before(contract, cut), branch=branch, snapshot_properties={MAINTENANCE: RETENTION})
    new = table.refs()[branch].snapshot_id
    table.manage_snapshots().create_tag(new, tag).remove_branch(branch).commit()
    return new


def _bookmark(table: "Table", contract: Contract, tag: str) -> int:
    """The newest snapshot, with what had come between the tag's and it."""
    from pyiceberg.table.update.snapshot import ManageSnapshots

    old, new = table.refs()[tag].snapshot_id, table.metadata.current_snapshot_id
    assert new is not None, "a tag stands on a snapshot"
    with table.transaction() as transaction:
        transaction.set_properties({f"{BOOKMARK}{old}": f"{new}:{added_since(table, contract, old)}"})
        ManageSnapshots(transaction).create_tag(new, tag).commit()
    return new


def _tags(table: "Table", *, counted: bool = False) -> list[str]:
    """Names of the tags that a model stands on; with ``counted`` those that are only counted from, too."""
    refs = {name for name, ref in table.refs().items() if ref.snapshot_ref_type == "tag"}
    return sorted(name for name in refs if counted or not name.startswith(COUNTED_FROM))


def _before(contract: Contract, cut: date) -> "BooleanExpression":
    from pyiceberg.expressions import LessThan

    return LessThan(contract.time_column, datetime(cut.year, cut.month, cut.day, tzinfo=UTC).isoformat())


def _count(table: "Table", contract: Contract, cut: date, ref: str = "") -> int:
    """Rows before the cut, from the files' statistics wherever those decide."""
    scan = table.scan(row_filter=_before(contract, cut), selected_fields=(contract.time_column,))
    return int((scan.use_ref(ref) if ref else scan).count())


def _first(table: "Table", contract: Contract, cut: date) -> str:
    """Day of the oldest row, which is all that the ledger has to know."""
    import pyarrow.compute as pc

    scan = table.scan(row_filter=_before(contract, cut), selected_fields=(contract.time_column,))
    oldest = [pc.min(batch.column(0)).as_py() for batch in scan.to_arrow_batch_reader() if batch.num_rows]
    return min(oldest).astimezone(UTC).date().isoformat()


def _raw(lake: Lake, contract: Contract, cut: date) -> list[str]:
    """Raw objects that landed before the cut: none of their rows is kept in any table."""
    if not contract.source:
        return []
    prefix = f"raw/{contract.source}/"
    return [key for key in lake.store.list(prefix) if key.split("/")[-2] < cut.isoformat()]

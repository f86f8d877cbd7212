"""The days of its inputs that a view has to read: all, or those that may have changed since its last computation.

Metrics are too large to be read whole every hour. A day is read if its files differ from those that the view's last
commit used, because Iceberg files are immutable, or if some of its windows were not due at that commit. Both are
recorded in that commit, so there is no separate list that could be wrong; if it has expired, every day is read.
"""

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta

from errors import UnknownName
from features.definitions.views import View
from lake.contracts.base import Contract
from lake.lake import Lake
from lake.tables.partitions import Partition, files_by_partition
from lake.tables.properties import INPUTS
from lake.tables.versions import TableVersion

UPTO = "fuelline.upto"
"""Key in the summary of a commit of features: the time up to which due rows were computed."""
DAY = timedelta(days=1)


def day_filter(column: str, day: date | None, *, ends: bool = False) -> str:
    """The rows of a day (UTC) as an Iceberg filter, or with ``ends`` the windows that end during the day or at its end;
    without a day, all rows.
    """
    if day is None:
        return ""
    start = datetime.combine(day, time(), UTC)
    after, before = (">", "<=") if ends else (">=", "<")
    return f"{column} {after} '{start.isoformat()}' and {column} {before} '{(start + DAY).isoformat()}'"


def days_to_read(lake: Lake, view: View, pinned: Mapping[str, TableVersion], upto: datetime) -> list[date | None]:
    """The days (UTC) that a computation of the view has to read, the oldest first; one None stands for all time."""
    if not view.by_day:
        return [None]
    due = (upto - view.delay).date()
    before, done = _last(lake, view)
    days: set[date] = set()
    for read in view.inputs:
        name = read.contract.table
        if name not in pinned:
            continue
        now = files_by_partition(lake.tables, read.contract, pinned[name])
        then = _files(lake, read.contract, before[name]) if name in before else {}
        dated = {day for day in now if isinstance(day, date)}
        if done:
            dated = {day for day in dated if now[day] != then.get(day) or day >= (done - view.delay).date() - DAY}
        days |= dated
    return [day for day in sorted(days) if day <= due]


def _last(lake: Lake, view: View) -> tuple[dict[str, TableVersion], datetime | None]:
    """The inputs of the newest commit of features, and the time up to which it computed; empty if there is none."""
    for snapshot in reversed(lake.tables.snapshots(view.contract)):
        summary = snapshot.summary.additional_properties if snapshot.summary else {}
        if UPTO in summary:
            names = [str(name).partition("@") for name in json.loads(summary[INPUTS])]
            pins = {table: TableVersion(table=table, snapshot_id=int(number), rows=0) for table, _, number in names}
            return pins, datetime.fromisoformat(summary[UPTO])
    return {}, None


def _files(lake: Lake, contract: Contract, version: TableVersion) -> dict[Partition, tuple[str, ...]]:
    """The files of each day of a version; empty if the version has expired."""
    try:
        return files_by_partition(lake.tables, contract, version)
    except UnknownName:
        return {}

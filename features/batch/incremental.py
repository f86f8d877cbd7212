"""The days of its inputs that a view has to read: all, or those that may have changed since its last computation.

Metrics are too large to be read whole every hour. A day is read if its files differ from those that the view's last
commit used, because Iceberg files are immutable, or if some of its windows were not due at that commit. Both are
recorded in that commit, so there is no separate list that could be wrong; if it has expired, every day is read.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """One day (UTC), or all time."""

    day: date | None = None

    def where(self, column: str) -> str:
        """The rows of the day, as an Iceberg filter."""
        if self.day is None:
            return ""
        start, end = self._bounds()
        return f"{column} >= '{start}' and {column} < '{end}'"

    def ends(self, column: str) -> str:
        """The windows that end during the day or at its end."""
        if self.day is None:
            return ""
        start, end = self._bounds()
        return f"{column} > '{start}' and {column} <= '{end}'"

    def _bounds(self) -> tuple[str, str]:
        assert self.day
        start = datetime.combine(self.day, time(), UTC)
        return start.isoformat(), (start + DAY).isoformat()


def spans(lake: Lake, view: View, pinned: Mapping[str, TableVersion], upto: datetime) -> list[Span]:
    """The spans that a computation of the view has to read, the oldest first."""
    if not view.by_day:
        return [Span()]
    due = (upto - view.delay).date()
    before, done = _last(lake, view)
    days: set[date] = set()
    for read in view.inputs:
        name = read.contract.table
        if name not in pinned:
            continue
        now = files_by_partition(lake.tables, read.contract, pinned[name])
        then = _files(lake, read.contract, before[name]) if name in before else {}
        days |= {day for day in now if isinstance(day, date) and (now[day] != then.get(day) or done is None)}
        days |= {day for day in now if isinstance(day, date) and done and day >= (done - view.delay).date() - DAY}
    return [Span(day=day) for day in sorted(days) if day <= due]


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

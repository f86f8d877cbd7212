"""Which part of its inputs a view has to look at: all of them, or the days in which anything may have changed.

Metrics are too many to be looked at whole every hour. A day is looked at where its files are others than those that the
view's last commit was made from, because Iceberg's files are immutable, and where some of its windows were not due yet
at that commit. Both stand in that commit itself, so there is no list of work done that could be wrong; where it has
expired, every day is looked at.
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
"""In the summary of a commit of features: the instant up to which what was due was computed."""
DAY = timedelta(days=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """A day (UTC), or all time."""

    day: date | None = None

    def where(self, column: str) -> str:
        """The rows of the day, as an Iceberg filter."""
        if self.day is None:
            return ""
        start, end = self._bounds()
        return f"{column} >= '{start}' and {column} < '{end}'"

    def ends(self, column: str) -> str:
        """The windows that end in the day or with it."""
        if self.day is None:
            return ""
        start, end = self._bounds()
        return f"{column} > '{start}' and {column} <= '{end}'"

    def _bounds(self) -> tuple[str, str]:
        assert self.day
        start = datetime.combine(self.day, time(), UTC)
        return start.isoformat(), (start + DAY).isoformat()


def spans(lake: Lake, view: View, pinned: Mapping[str, TableVersion], upto: datetime) -> list[Span]:
    """What a computation of the view has to look at, the oldest first."""
    if not view.by_day:
        return [Span()]
    due = (upto - view.delay).date()
    before, done = _last(lake, view)
    days: set[date] = set()
    for one in view.inputs:
        name = one.contract.table
        if name not in pinned:
            continue
        now = files_by_partition(lake.tables, one.contract, pinned[name])
        then = _files(lake, one.contract, before[name]) if name in before else {}
        days |= {day for day in now if isinstance(day, date) and (now[day] != then.get(day) or done is None)}
        days |= {day for day in now if isinstance(day, date) and done and day >= (done - view.delay).date() - DAY}
    return [Span(day=day) for day in sorted(days) if day <= due]


def _last(lake: Lake, view: View) -> tuple[dict[str, TableVersion], datetime | None]:
    """The inputs of the newest commit of features, and up to when it computed; nothing where there is none."""
    for snapshot in reversed(lake.tables.snapshots(view.contract)):
        told = snapshot.summary.additional_properties if snapshot.summary else {}
        if UPTO in told:
            names = [str(name).partition("@") for name in json.loads(told[INPUTS])]
            pins = {table: TableVersion(table=table, snapshot_id=int(number), rows=0) for table, _, number in names}
            return pins, datetime.fromisoformat(told[UPTO])
    return {}, None


def _files(lake: Lake, contract: Contract, version: TableVersion) -> dict[Partition, tuple[str, ...]]:
    """The files of each day of a version; none that could be equal to any where the version has expired."""
    try:
        return files_by_partition(lake.tables, contract, version)
    except UnknownName:
        return {}

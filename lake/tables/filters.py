"""Filters that select whole partitions of a table: ranges and equalities, which pyiceberg handles most reliably."""

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

from lake.contracts.base import Contract

if TYPE_CHECKING:
    from pyiceberg.expressions import BooleanExpression


def in_partitions(contract: Contract, partitions: Sequence[date | str]) -> "BooleanExpression":
    """Rows in these partitions: days, or values of the identity column."""
    from pyiceberg.expressions import And, GreaterThanOrEqual, In, LessThan, Or

    if not (column := contract.day_column):
        return In(contract.partitions[0][1], set(partitions))
    ranges = [
        And(GreaterThanOrEqual(column, first.isoformat()), LessThan(column, last.isoformat()))
        for first, last in _ranges(sorted(day for day in partitions if isinstance(day, date)))
    ]
    # Or makes a balanced tree, so that many ranges do not exceed the recursion limit.
    return Or(*ranges) if len(ranges) > 1 else ranges[0]


def _ranges(days: list[date]) -> Iterable[tuple[datetime, datetime]]:
    """Runs of consecutive days as [start, end) instants."""
    start = previous = days[0]
    for day in [*days[1:], None]:
        if day is None or day - previous > timedelta(days=1):
            yield _midnight(start), _midnight(previous + timedelta(days=1))
            start = day or start
        previous = day or previous


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)

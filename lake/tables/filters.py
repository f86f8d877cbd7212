"""Filters that select whole partitions of a table: ranges and equalities, which pyiceberg handles most reliably."""

import itertools
from collections.abc import Sequence
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
    days = sorted(day for day in partitions if isinstance(day, date))
    # Consecutive days make one range: they have the same distance from their places in the list.
    runs = itertools.groupby(enumerate(days), key=lambda numbered: numbered[1].toordinal() - numbered[0])
    ranges = []
    for run in ([day for _, day in numbered] for _, numbered in runs):
        end = run[-1] + timedelta(days=1)
        ranges.append(And(GreaterThanOrEqual(column, _midnight(run[0])), LessThan(column, _midnight(end))))
    # Or makes a balanced tree, so that many ranges do not exceed the recursion limit.
    return Or(*ranges) if len(ranges) > 1 else ranges[0]


def _midnight(day: date) -> str:
    return datetime(day.year, day.month, day.day, tzinfo=UTC).isoformat()

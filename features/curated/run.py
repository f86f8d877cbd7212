"""Rebuild a curated table by its name, for schedules and back-fills."""

from datetime import date

from errors import UserError
from features.curated.build import Build, build
from features.curated.datasets import build_datasets
from features.curated.tables import named_table
from lake.contracts.training_datasets import TRAINING_DATASETS
from lake.lake import Lake


def build_named(lake: Lake, name: str, *, first: date | None = None, last: date | None = None) -> Build:
    """Rebuild the due partitions of the table of this name, between two days (inclusive; None: unbounded).

    Raises:
        UnknownName: no such table.
        UserError: the table has no days, or the first is after the last.
    """
    if first and last and first > last:
        raise UserError(f"the first day, {first}, is after the last, {last}")
    if name != TRAINING_DATASETS.name:
        return build(lake, named_table(name), first=first, last=last)
    if first or last:
        raise UserError(f"{name} has one row for each training set and no days; build it without first and last day")
    return build_datasets(lake)

"""The incremental build of a curated table: only days whose inputs have changed since they were built.

A day is due if its digest differs from the one stored in its rows. The digest covers the input files that the day
depends on, the SQL of the transform and the version of the contract. So late rows, late feedback, deleted rows and a
changed definition make exactly the affected days due, a second run does nothing, and a crash needs no repair.
"""

import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from errors import UserError
from features.curated.datasets import build_datasets
from features.curated.tables import Build, Curated, CuratedInput, digest, in_form, is_due, named_table, result
from features.definitions.compiled import run_transform
from lake.contracts.training_datasets import TRAINING_DATASETS
from lake.lake import Lake
from lake.tables.partitions import BUILT_FROM, built_from, files_by_partition
from lake.tables.replace import replace_partitions
from lake.tables.versions import TableVersion

log = logging.getLogger("fuelline.curated")

DAY = timedelta(days=1)


def build_named(lake: Lake, name: str, *, first: date | None = None, last: date | None = None) -> Build:
    """Rebuild the due partitions of the table of this name, between two days (inclusive; None: unbounded). Raises
    ``UserError`` if the table has no days, or the first is after the last.
    """
    if first and last and first > last:
        raise UserError(f"the first day, {first}, is after the last, {last}")
    if name != TRAINING_DATASETS.name:
        return build(lake, named_table(name), first=first, last=last)
    if first or last:
        raise UserError(f"{name} has one row for each training set and no days; build it without first and last day")
    return build_datasets(lake)


def build(
    lake: Lake,
    curated: Curated,
    *,
    first: date | None = None,
    last: date | None = None,
    pins: Sequence[TableVersion] | None = None,
) -> Build:
    """Rebuild the days (UTC) from ``first`` to ``last`` (inclusive; None: unbounded) that are due.

    ``pins`` are the versions of the inputs, by default the current ones. Raises ``CommitContended`` if a commit lost
    its race too often.
    """
    versions = [lake.tables.current(read.contract) for read in curated.inputs] if pins is None else pins
    inputs = {version.table: version for version in versions if version}
    wanted = _digests(lake, curated, inputs)
    stored = built_from(lake.tables, curated.contract)
    # Days whose inputs are gone are deleted, unless the table keeps their values.
    known = wanted if curated.keeps else {*wanted, *(day for day in stored if isinstance(day, date))}
    chosen = sorted(day for day in known if (first or day) <= day <= (last or day))
    due = [day for day in chosen if is_due(stored.get(day, set()), wanted.get(day))]
    rebuilt: list[str] = []
    for days in _runs(due, curated.days_at_once):
        rows = _rows(lake, curated, inputs, days, wanted)
        done = replace_partitions(lake.tables, curated.contract, days, rows, inputs=list(inputs.values()))
        rebuilt.extend(map(str, done.replaced))
        if done.overtaken:
            log.info("%s: a newer snapshot has been built from in the meantime", curated.contract.table)
            break
    if rebuilt:
        log.info("%s: %d days rebuilt, %s to %s", curated.contract.table, len(rebuilt), rebuilt[0], rebuilt[-1])
    return result(lake, curated.contract, list(inputs.values()), rebuilt)


def compute(curated: Curated, tables: Sequence[pa.Table]) -> pa.Table:
    """The transform's rows in the contract's form, without ``built_from``; pure, on DuckDB.

    ``tables`` are those of ``curated.read``.
    """
    names = [read.contract.table.replace(".", "_") for read in curated.read]
    return in_form(curated.contract, run_transform(curated.transform, dict(zip(names, tables, strict=True))))


def _digests(lake: Lake, curated: Curated, inputs: Mapping[str, TableVersion]) -> dict[date, str]:
    """For each day with input rows, the digest of everything that decides its rows; reads file names only."""
    pinned = [(read.contract, inputs.get(read.contract.table)) for read in curated.inputs]
    files = [files_by_partition(lake.tables, contract, version) if version else {} for contract, version in pinned]
    defining = [by_day for read, by_day in zip(curated.inputs, files, strict=True) if read.makes_days]
    digests: dict[date, str] = {}
    for day in {day for by_day in defining for day in by_day if isinstance(day, date)}:
        own = [
            [
                path
                for n in range(-1 if read.hours_before else 0, 1 + read.days_after)
                for path in by_day.get(day + n * DAY, ())
            ]
            for read, by_day in zip(curated.inputs, files, strict=True)
        ]
        digests[day] = digest(curated.contract, curated.definition, str(day), own)
    return digests


def _rows(
    lake: Lake,
    curated: Curated,
    inputs: Mapping[str, TableVersion],
    days: Sequence[date],
    wanted: Mapping[date, str],
) -> pa.Table:
    """The rows of consecutive days, each with its day's digest."""
    current = lake.tables.current(curated.contract)
    versions = {**inputs, **({curated.contract.table: current} if current else {})}
    tables = [_read(lake, read, versions, days[0], days[-1]) for read in curated.read]
    rows = compute(curated, tables).sort_by([(name, "ascending") for name in reversed(curated.contract.key)])
    rows = rows.filter(pc.is_in(rows[curated.contract.day_column].cast(pa.date32()), pa.array(days)))
    row_days = rows[curated.contract.day_column].cast(pa.date32()).to_pylist()
    return rows.append_column(BUILT_FROM, pa.array([wanted[day] for day in row_days], pa.string()))


def _read(lake: Lake, read: CuratedInput, inputs: Mapping[str, TableVersion], first: date, last: date) -> pa.Table:
    if read.contract.table not in inputs:
        return read.contract.arrow_schema.empty_table().select(list(read.columns))
    column = read.contract.day_column
    start = datetime.combine(first, time(), UTC) - timedelta(hours=read.hours_before)
    end = datetime.combine(last, time(), UTC) + (1 + read.days_after) * DAY
    where = f"{column} >= '{start.isoformat()}' and {column} < '{end.isoformat()}'"
    where += f" and {read.where}" if read.where else ""
    return lake.tables.read(inputs[read.contract.table], columns=read.columns, where=where)


def _runs(days: Sequence[date], at_once: int) -> list[list[date]]:
    """Runs of consecutive days, at most ``at_once`` long."""
    runs: list[list[date]] = []
    for day in days:
        if runs and day - runs[-1][-1] == DAY and len(runs[-1]) < at_once:
            runs[-1].append(day)
        else:
            runs.append([day])
    return runs

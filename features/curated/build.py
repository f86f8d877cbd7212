"""The incremental build of a curated table: only days whose inputs have changed since they were built.

A day is due if its digest differs from the one stored in its rows. The digest covers the input files that the day
depends on, the SQL of the transform and the version of the contract. So late rows, late feedback, deleted rows and a
changed definition make exactly the affected days due, a second run does nothing, and a crash needs no repair.
"""

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from errors import UserError
from features.curated.datasets import build_datasets
from features.curated.tables import Build, Curated, CuratedInput, named_table, result
from features.definitions.compiled import run_transform
from lake.contracts.training_datasets import TRAINING_DATASETS
from lake.lake import Lake
from lake.tables.partitions import BUILT_FROM, Partition, built_from, files_by_partition
from lake.tables.replace import replace_partitions
from lake.tables.versions import TableVersion

log = logging.getLogger("fuelline.curated")

DAY = timedelta(days=1)


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


def pin(lake: Lake, curated: Curated) -> list[TableVersion]:
    """The newest versions of a table's inputs, without those that are empty."""
    versions = (lake.tables.current(read.contract) for read in curated.inputs)
    return [version for version in versions if version]


def build(
    lake: Lake,
    curated: Curated,
    *,
    first: date | None = None,
    last: date | None = None,
    pins: Sequence[TableVersion] | None = None,
) -> Build:
    """Rebuild the days from ``first`` to ``last`` (inclusive; None: unbounded) that are due.

    Args:
        lake: where the tables are.
        curated: what to build.
        first: the first day (UTC).
        last: the last day.
        pins: the versions of the inputs; None: the current ones.

    Raises:
        CommitContended: a commit lost its race too often.
    """
    inputs = {version.table: version for version in (pin(lake, curated) if pins is None else pins)}
    wanted = digests(lake, curated, inputs)
    due = [day for day in _due(lake, curated, wanted) if (first or day) <= day <= (last or day)]
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


def digests(lake: Lake, curated: Curated, inputs: Mapping[str, TableVersion]) -> dict[date, str]:
    """For each day with input rows, the digest of everything that decides its rows; reads file names only."""
    files = [_files(lake, read, inputs) for read in curated.inputs]
    defining = [by_day for read, by_day in zip(curated.inputs, files, strict=True) if read.makes_days]
    digests = {}
    for day in sorted({day for by_day in defining for day in _days(by_day)}):
        own = [
            [
                path
                for n in range(-1 if read.hours_before else 0, 1 + read.days_after)
                for path in by_day.get(day + n * DAY, ())
            ]
            for read, by_day in zip(curated.inputs, files, strict=True)
        ]
        parts = json.dumps([curated.contract.table, curated.contract.version, curated.definition, str(day), own])
        digests[day] = hashlib.sha256(parts.encode()).hexdigest()[:32]
    return digests


def compute(curated: Curated, tables: Sequence[pa.Table]) -> pa.Table:
    """The transform's rows in the contract's form, without ``built_from``; pure, on DuckDB.

    ``tables`` are those of the inputs, then the table's present rows if it has columns to keep.
    """
    names = [read.contract.table.replace(".", "_") for read in _read_from(curated)]
    fields = [field for field in curated.contract.arrow_schema if field.name != BUILT_FROM]
    rows = run_transform(curated.transform, dict(zip(names, tables, strict=True)))
    return rows.select([field.name for field in fields]).cast(pa.schema(fields))


def _due(lake: Lake, curated: Curated, wanted: Mapping[date, str]) -> list[date]:
    """Days whose stored digest differs from the wanted one, and days to delete because their inputs are gone."""
    stored = built_from(lake.tables, curated.contract)
    days = wanted.keys() if curated.keeps else wanted.keys() | _days(stored)
    return sorted(day for day in days if stored.get(day, set()) != ({wanted[day]} if day in wanted else set()))


def _rows(
    lake: Lake, curated: Curated, inputs: Mapping[str, TableVersion], days: Sequence[date], wanted: Mapping[date, str]
) -> pa.Table:
    """The rows of consecutive days, each with its day's digest."""
    current = lake.tables.current(curated.contract)
    versions = {**inputs, **({curated.contract.table: current} if current else {})}
    tables = [_read(lake, read, versions, days[0], days[-1]) for read in _read_from(curated)]
    rows = compute(curated, tables).sort_by([(name, "ascending") for name in reversed(curated.contract.key)])
    rows = rows.filter(pc.is_in(rows[curated.contract.day_column].cast(pa.date32()), pa.array(days)))
    row_days = rows[curated.contract.day_column].cast(pa.date32()).to_pylist()
    return rows.append_column(BUILT_FROM, pa.array([wanted[day] for day in row_days], pa.string()))


def _read_from(curated: Curated) -> tuple[CuratedInput, ...]:
    return (*curated.inputs, curated.present) if curated.keeps else curated.inputs


def _read(lake: Lake, read: CuratedInput, inputs: Mapping[str, TableVersion], first: date, last: date) -> pa.Table:
    if read.contract.table not in inputs:
        return read.contract.arrow_schema.empty_table().select(list(read.columns))
    column = read.contract.day_column
    start = datetime.combine(first, time(), UTC) - timedelta(hours=read.hours_before)
    end = datetime.combine(last, time(), UTC) + (1 + read.days_after) * DAY
    where = f"{column} >= '{start.isoformat()}' and {column} < '{end.isoformat()}'"
    where += f" and {read.where}" if read.where else ""
    return lake.tables.read(inputs[read.contract.table], columns=read.columns, where=where)


def _files(lake: Lake, read: CuratedInput, inputs: Mapping[str, TableVersion]) -> dict[Partition, tuple[str, ...]]:
    version = inputs.get(read.contract.table)
    return files_by_partition(lake.tables, read.contract, version) if version else {}


def _days(partitions: Mapping[Partition, object]) -> list[date]:
    return sorted(partition for partition in partitions if isinstance(partition, date))


def _runs(days: Sequence[date], at_once: int) -> Iterator[list[date]]:
    """Runs of consecutive days, at most ``at_once`` long."""
    run: list[date] = []
    for day in days:
        if run and (day - run[-1] > DAY or len(run) == at_once):
            yield run
            run = []
        run.append(day)
    if run:
        yield run

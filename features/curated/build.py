"""The incremental build: days whose input files are others than those they were built from, and no other day.

What is due is found by looking, not remembered. A day's digest is made of the input files that it depends on, of the
transform's SQL and of the contract's version; the digest that stands in its rows says what it was built from. So late
rows, late thumbs, rows that went and a changed definition each make exactly their own days due, a second run does
nothing, and a crash needs no repair.
"""

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from features.curated.tables import Curated, Input
from lake.lake import Lake
from lake.tables.engine import as_ibis, ibis_engine
from lake.tables.partitions import BUILT_FROM, Partition, built_from, files_by_partition
from lake.tables.replace import replace_partitions
from lake.tables.versions import TableVersion

log = logging.getLogger("fuelline.curated")

DAY = timedelta(days=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Build:
    """What a build did."""

    table: str
    version: list[TableVersion] = field(default_factory=list)
    """The table afterwards; empty where it has never held a row."""
    inputs: list[TableVersion]
    """The pinned versions that were looked at."""
    rebuilt: list[str] = field(default_factory=list)
    """The partitions that this build replaced, in order."""


def pin(lake: Lake, curated: Curated) -> list[TableVersion]:
    """The newest versions of a table's inputs; of one that holds nothing yet, none."""
    found = (lake.tables.current(one.contract) for one in curated.inputs)
    return [version for version in found if version]


def build(
    lake: Lake,
    curated: Curated,
    *,
    first: date | None = None,
    last: date | None = None,
    pins: Sequence[TableVersion] | None = None,
) -> Build:
    """Rebuild the days from ``first`` to ``last`` (inclusive; None: without end) that are due, and only those.

    Args:
        lake: where the tables are.
        curated: what to build.
        first: the first day (UTC).
        last: the last day.
        pins: the inputs' versions; where None, the current ones.

    Raises:
        CommitContended: a commit lost its race too often.
    """
    inputs = {one.table: one for one in (pin(lake, curated) if pins is None else pins)}
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
    return built(lake, curated, list(inputs.values()), rebuilt)


def built(lake: Lake, curated: Curated, inputs: list[TableVersion], rebuilt: list[str]) -> Build:
    """How a table stands after a build."""
    current = lake.tables.current(curated.contract)
    version = [current] if current else []
    return Build(table=curated.contract.table, version=version, inputs=inputs, rebuilt=rebuilt)


def digests(lake: Lake, curated: Curated, inputs: Mapping[str, TableVersion]) -> dict[date, str]:
    """For each day with input rows, the digest of all that its rows are made from; from the files' names alone."""
    files = [_files(lake, one, inputs) for one in curated.inputs]
    made = [of_days for one, of_days in zip(curated.inputs, files, strict=True) if one.makes_days]
    found = {}
    for day in sorted({day for of_days in made for day in _days(of_days)}):
        own = [
            [
                path
                for n in range(-1 if one.hours_before else 0, 1 + one.days_after)
                for path in of_days.get(day + n * DAY, ())
            ]
            for one, of_days in zip(curated.inputs, files, strict=True)
        ]
        told = json.dumps([curated.contract.table, curated.contract.version, curated.definition, str(day), own])
        found[day] = hashlib.sha256(told.encode()).hexdigest()[:32]
    return found


def compute(curated: Curated, tables: Sequence[pa.Table]) -> pa.Table:
    """The transform's rows in the contract's form, but for ``built_from``; pure, on DuckDB.

    ``tables`` are those of the inputs, then the rows that stand, where there are columns to keep.
    """
    engine = ibis_engine()
    given = [
        as_ibis(engine, one.contract.table.replace(".", "_"), rows)
        for one, rows in zip(_read_from(curated), tables, strict=True)
    ]
    fields = [one for one in curated.contract.arrow_schema if one.name != BUILT_FROM]
    rows = engine.to_pyarrow(curated.transform(*given))
    return rows.select([one.name for one in fields]).cast(pa.schema(fields))


def _due(lake: Lake, curated: Curated, wanted: Mapping[date, str]) -> list[date]:
    """Days that are to say something else than they do: also those that are to go, because their inputs are gone."""
    stored = built_from(lake.tables, curated.contract)
    days = wanted.keys() if curated.keeps else wanted.keys() | _days(stored)
    return sorted(day for day in days if stored.get(day, set()) != ({wanted[day]} if day in wanted else set()))


def _rows(
    lake: Lake, curated: Curated, inputs: Mapping[str, TableVersion], days: Sequence[date], wanted: Mapping[date, str]
) -> pa.Table:
    """The rows of a run of days, each with its day's digest."""
    current = lake.tables.current(curated.contract)
    known = {**inputs, **({curated.contract.table: current} if current else {})}
    read = [_read(lake, one, known, days[0], days[-1]) for one in _read_from(curated)]
    rows = compute(curated, read).sort_by([(name, "ascending") for name in reversed(curated.contract.key)])
    rows = rows.filter(pc.is_in(rows[curated.contract.day_column].cast(pa.date32()), pa.array(days)))
    at = rows[curated.contract.day_column].cast(pa.date32()).to_pylist()
    return rows.append_column(BUILT_FROM, pa.array([wanted[day] for day in at], pa.string()))


def _read_from(curated: Curated) -> tuple[Input, ...]:
    return (*curated.inputs, curated.standing) if curated.keeps else curated.inputs


def _read(lake: Lake, one: Input, inputs: Mapping[str, TableVersion], first: date, last: date) -> pa.Table:
    if one.contract.table not in inputs:
        return one.contract.arrow_schema.empty_table().select(list(one.columns))
    column = one.contract.day_column
    start = datetime.combine(first, time(), UTC) - timedelta(hours=one.hours_before)
    end = datetime.combine(last, time(), UTC) + (1 + one.days_after) * DAY
    where = f"{column} >= '{start.isoformat()}' and {column} < '{end.isoformat()}'"
    where += f" and {one.where}" if one.where else ""
    return lake.tables.read(inputs[one.contract.table], columns=one.columns, where=where)


def _files(lake: Lake, one: Input, inputs: Mapping[str, TableVersion]) -> dict[Partition, tuple[str, ...]]:
    version = inputs.get(one.contract.table)
    return files_by_partition(lake.tables, one.contract, version) if version else {}


def _days(partitions: Mapping[Partition, object]) -> list[date]:
    return sorted(one for one in partitions if isinstance(one, date))


def _runs(days: Sequence[date], at_once: int) -> Iterator[list[date]]:
    """Consecutive days together, so many at most."""
    run: list[date] = []
    for day in days:
        if run and (day - run[-1] > DAY or len(run) == at_once):
            yield run
            run = []
        run.append(day)
    if run:
        yield run

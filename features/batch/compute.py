"""The scheduled computation of missing feature rows, from pinned snapshots of the views' inputs.

Missing rows are found by comparison: the rows that the inputs define, minus the stored ones. So a second run is a
no-op, a late file fills its own gaps, and a crash needs no repair. A stored row never changes, even if more data
arrived after it was computed: it is the value that production has used.
"""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from datetime import date, datetime

import pyarrow as pa
import pyarrow.compute as pc

from features.batch.incremental import UPTO, day_filter, days_to_read
from features.definitions import transforms
from features.definitions.compiled import run_transform
from features.definitions.views import CREATED_TIMESTAMP, EVENT_TIMESTAMP, VIEWS, View, ViewInput
from lake.lake import Lake
from lake.tables.engine import query
from lake.tables.versions import TableVersion

log = logging.getLogger("fuelline.features")

Pins = Mapping[str, TableVersion]
"""Pinned inputs by table."""


def compute_features(lake: Lake, interactions: TableVersion, upto: datetime) -> list[TableVersion]:
    """Compute every view that has inputs, in the order of ``VIEWS``: the infrastructure's only if metrics, logs or
    events were collected. Of other inputs than the interactions the newest version is used.
    """
    contracts = {read.contract.table: read.contract for view in VIEWS for read in view.inputs}
    newest = {name: lake.tables.current(contract) for name, contract in contracts.items()}
    pins = {name: version for name, version in newest.items() if version} | {interactions.table: interactions}
    views = [view for view in VIEWS if any(read.windows and read.contract.table in pins for read in view.inputs)]
    return [compute_view(lake, view, list(pins.values()), upto) for view in views]


def compute_view(lake: Lake, view: View, pins: Sequence[TableVersion], upto: datetime) -> TableVersion:
    """Append the view's rows that are due by ``upto`` (``created_timestamp <= upto``) and missing.

    ``created_timestamp`` is the end of the window plus the delay of the schedule, never the clock, so a back-fill sees
    what production would have seen. Returns the version with the rows: of this call, or of the first call with these
    inputs. An input that is not in ``pins`` is treated as empty.
    """
    tables = {read.contract.table for read in view.inputs}
    pinned = {version.table: version for version in pins if version.table in tables}
    key = _key(view, list(pinned.values()), upto)
    if done := lake.tables.find(view.contract, key):
        return done
    current = lake.tables.current(view.contract)
    found = [view.contract.arrow_schema.empty_table()]
    for day in days_to_read(lake, view, pinned, upto):
        missing = _missing(lake, view, pinned, current, upto, day)
        if missing.num_rows:
            found.append(view_rows(view, missing, *_rows_of_inputs(lake, view, pinned, missing)))
    rows = pa.concat_tables(found)
    if current and not rows.num_rows:
        return current
    log.info("%s: %d new rows from %s", view.contract.table, rows.num_rows, ", ".join(map(str, pinned.values())))
    properties = {UPTO: upto.isoformat()}
    return lake.tables.append(view.contract, rows, key=key, inputs=list(pinned.values()), properties=properties)


def view_rows(view: View, wanted: pa.Table, *inputs: pa.Table) -> pa.Table:
    """The view's rows in its contract's form for each (entity, event_timestamp) of ``wanted``; pure. An omitted input
    is empty.
    """
    values = run_transform(view.transform, _named(view.inputs, inputs) | {"wanted": wanted})
    created = pc.add(values[EVENT_TIMESTAMP], pa.scalar(view.delay, pa.duration("us")))
    schema = view.contract.arrow_schema
    rows = values.append_column(CREATED_TIMESTAMP, created).select(schema.names).cast(schema)
    return rows.sort_by([(EVENT_TIMESTAMP, "ascending"), (view.entity, "ascending")])


def view_windows(view: View, upto: datetime, *inputs: pa.Table) -> pa.Table:
    """Every (entity, event_timestamp) that the inputs with ``windows`` define and that is due by ``upto``; pure."""
    found = run_transform(view.windows, _named([read for read in view.inputs if read.windows], inputs))
    ends = found[EVENT_TIMESTAMP].cast(pa.timestamp("us", tz="UTC"))  # Ibis drops the zone when it adds an interval
    windows = pa.table({view.entity: found[view.entity], EVENT_TIMESTAMP: ends})
    return windows.filter(pc.less_equal(ends, pa.scalar(upto - view.delay)))


def _missing(
    lake: Lake, view: View, pinned: Pins, current: TableVersion | None, upto: datetime, day: date | None
) -> pa.Table:
    """The defined windows minus the stored ones. Reads a few narrow columns of each table."""
    where = day_filter("timestamp", day)
    tables = [_read(lake, read, pinned, read.windows, where) for read in view.inputs if read.windows]
    due = view_windows(view, upto, *tables)
    if current is None:
        return due
    key, where = [view.entity, EVENT_TIMESTAMP], day_filter(EVENT_TIMESTAMP, day, ends=True)
    stored = lake.tables.read(current, columns=key, where=where)
    return query(f"FROM due ANTI JOIN stored USING ({', '.join(key)})", due=due, stored=stored)


def _rows_of_inputs(lake: Lake, view: View, pinned: Pins, windows: pa.Table) -> list[pa.Table]:
    """The rows of each input that the windows depend on."""
    ends = pc.min_max(windows[EVENT_TIMESTAMP]).as_py()
    tables = []
    for read in view.inputs:
        where = f"timestamp < '{ends['max'].isoformat()}'"
        if read.lookback is not None:
            where += f" and timestamp >= '{(ends['min'] - read.lookback).isoformat()}'"
        tables.append(_read(lake, read, pinned, read.columns, where))
    return tables


def _read(lake: Lake, read: ViewInput, pinned: Pins, columns: Sequence[str], where: str) -> pa.Table:
    if read.contract.table not in pinned:
        return read.contract.arrow_schema.empty_table().select(list(columns))
    both = " and ".join(part for part in (read.where, where) if part)
    return lake.tables.read(pinned[read.contract.table], columns=columns, where=both)


def _named(inputs: Sequence[ViewInput], rows: Sequence[pa.Table]) -> dict[str, pa.Table]:
    """The rows of each input with its name; omitted inputs are empty."""
    empty = [read.contract.arrow_schema.empty_table() for read in inputs[len(rows) :]]
    return {read.contract.name.replace(".", "_"): table for read, table in zip(inputs, (*rows, *empty), strict=True)}


def _key(view: View, pinned: Sequence[TableVersion], upto: datetime) -> str:
    """Digest of everything that decides the rows."""
    versions = sorted(map(str, pinned))
    parts = [view.contract.table, view.contract.version, transforms.VERSION, *versions, upto.isoformat()]
    return f"features:{hashlib.sha256(json.dumps(parts).encode()).hexdigest()}"

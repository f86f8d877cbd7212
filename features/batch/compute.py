"""The scheduled computation of missing feature rows, from pinned snapshots of the views' inputs.

Missing rows are found by comparison: the rows that the inputs define, minus the stored ones. So a second run is a
no-op, a late file fills its own gaps, and a crash needs no repair. A stored row never changes, even if more data
arrived after it was computed: it is the value that production has used.
"""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from datetime import datetime

import pyarrow as pa

from features.batch.incremental import UPTO, Span, spans
from features.definitions import transforms
from features.definitions.compiled import run_transform
from features.definitions.views import CREATED_TIMESTAMP, EVENT_TIMESTAMP, VIEWS, View, ViewInput
from lake.lake import Lake
from lake.tables.engine import connect
from lake.tables.versions import TableVersion

log = logging.getLogger("fuelline.features")

Pins = Mapping[str, TableVersion]
"""Pinned inputs by table."""


def compute_features(lake: Lake, interactions: TableVersion, upto: datetime) -> list[TableVersion]:
    """Compute every view that has inputs, in the order of ``VIEWS``: the infrastructure's only if metrics, logs or
    events were collected. Of other inputs than the interactions the newest version is used.
    """
    pins = pin_inputs(lake, interactions)
    views = [view for view in VIEWS if any(read.windows and read.contract.table in pins for read in view.inputs)]
    return [compute_view(lake, view, list(pins.values()), upto) for view in views]


def pin_inputs(lake: Lake, interactions: TableVersion) -> dict[str, TableVersion]:
    """The interactions, and the newest version of every other input that exists."""
    others = {read.contract.table: read.contract for view in VIEWS for read in view.inputs}
    current = {name: lake.tables.current(contract) for name, contract in others.items()}
    return {name: version for name, version in current.items() if version} | {interactions.table: interactions}


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
    rows = pa.concat_tables(
        [
            view.contract.arrow_schema.empty_table(),
            *(_span_rows(lake, view, pinned, current, upto, span) for span in spans(lake, view, pinned, upto)),
        ]
    )
    if current and not rows.num_rows:
        return current
    log.info("%s: %d new rows from %s", view.contract.table, rows.num_rows, ", ".join(map(str, pinned.values())))
    properties = {UPTO: upto.isoformat()}
    return lake.tables.append(view.contract, rows, key=key, inputs=list(pinned.values()), properties=properties)


def view_rows(view: View, rows: pa.Table, wanted: pa.Table, *others: pa.Table) -> pa.Table:
    """The view's rows in its contract's form for each (entity, event_timestamp) of ``wanted``; pure.

    ``rows`` are those of the first input, ``others`` those of the next ones; an omitted input is empty.
    """
    values = run_transform(view.transform, _named(view.inputs, (rows, *others)) | {"wanted": wanted})
    values = values.set_column(
        values.column_names.index(EVENT_TIMESTAMP), EVENT_TIMESTAMP, _utc(values[EVENT_TIMESTAMP])
    )
    delay = pa.scalar(view.delay, pa.duration("us"))
    created = pa.compute.add(values[EVENT_TIMESTAMP], delay)
    schema = view.contract.arrow_schema
    return (
        values.append_column(CREATED_TIMESTAMP, created)
        .select(schema.names)
        .cast(schema)
        .sort_by([(EVENT_TIMESTAMP, "ascending"), (view.entity, "ascending")])
    )


def view_windows(view: View, rows: pa.Table, upto: datetime, *others: pa.Table) -> pa.Table:
    """Every (entity, event_timestamp) that the inputs define and that is due by ``upto``; pure. Inputs as in
    ``view_rows``, without those that define no windows.
    """
    defining = [read for read in view.inputs if read.windows]
    found = run_transform(view.windows, _named(defining, (rows, *others)))
    windows = pa.table({view.entity: found[view.entity], EVENT_TIMESTAMP: _utc(found[EVENT_TIMESTAMP])})
    return windows.filter(pa.compute.less_equal(windows[EVENT_TIMESTAMP], pa.scalar(upto - view.delay)))


def _span_rows(
    lake: Lake, view: View, pinned: Pins, current: TableVersion | None, upto: datetime, span: Span
) -> pa.Table:
    """The missing rows of a span's windows, computed from the rows that they depend on."""
    missing = _missing(lake, view, pinned, current, upto, span)
    if not missing.num_rows:
        return view.contract.arrow_schema.empty_table()
    ends = pa.compute.min_max(missing[EVENT_TIMESTAMP]).as_py()
    tables = [_read(lake, read, pinned, read.columns, _before(read, ends["min"], ends["max"])) for read in view.inputs]
    return view_rows(view, tables[0], missing, *tables[1:])


def _missing(
    lake: Lake, view: View, pinned: Pins, current: TableVersion | None, upto: datetime, span: Span
) -> pa.Table:
    """The defined windows minus the stored ones. Reads a few narrow columns of each table."""
    defining = [read for read in view.inputs if read.windows]
    tables = [_read(lake, read, pinned, read.windows, span.where("timestamp")) for read in defining]
    due = view_windows(view, tables[0], upto, *tables[1:])
    if current is None:
        return due
    stored = lake.tables.read(current, columns=[view.entity, EVENT_TIMESTAMP], where=span.ends(EVENT_TIMESTAMP))
    connection = connect()
    connection.register("due", due)
    connection.register("stored", stored)
    return connection.sql(f"FROM due ANTI JOIN stored USING ({view.entity}, {EVENT_TIMESTAMP})").to_arrow_table()


def _before(read: ViewInput, first: datetime, last: datetime) -> str:
    """The rows of an input that windows ending from ``first`` to ``last`` depend on."""
    where = f"timestamp < '{last.isoformat()}'"
    return where if read.lookback is None else f"{where} and timestamp >= '{(first - read.lookback).isoformat()}'"


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


def _utc(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The instants as UTC microseconds; Ibis drops the zone when it adds an interval."""
    return column.cast(pa.timestamp("us", tz="UTC"))

"""The scheduled computation: rows that are missing up to now, from pinned snapshots of what the views are made of.

What is missing is found by looking, not remembered: the rows that the inputs call for, less those that are there. So a
second run is a no-op, a late file fills its own gaps, and a crash needs no repair. A row that is there stays as it is,
even where more arrived after it was computed: it is what production has seen.
"""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from datetime import datetime

import pyarrow as pa

from features.batch.incremental import UPTO, Span, spans
from features.definitions import transforms
from features.definitions.views import CREATED_TIMESTAMP, EVENT_TIMESTAMP, VIEWS, Input, View
from lake.lake import Lake
from lake.tables.engine import as_ibis, connect, ibis_engine
from lake.tables.versions import TableVersion

log = logging.getLogger("fuelline.features")

Pins = Mapping[str, TableVersion]
"""Pinned inputs by table."""


def compute_features(lake: Lake, interactions: TableVersion, upto: datetime) -> list[TableVersion]:
    """Compute every view of which there is anything to compute from, in the order of ``VIEWS``: the clusters' only
    where metrics, logs or events were collected. What is pinned beside the interactions is the newest there is.
    """
    pins = pin_inputs(lake, interactions)
    called = [view for view in VIEWS if any(one.windows and one.contract.table in pins for one in view.inputs)]
    return [compute_view(lake, view, list(pins.values()), upto) for view in called]


def pin_inputs(lake: Lake, interactions: TableVersion) -> dict[str, TableVersion]:
    """The interactions, and the newest version of whatever else a view is computed from and is there."""
    others = {one.contract.table: one.contract for view in VIEWS for one in view.inputs}
    current = {name: lake.tables.current(contract) for name, contract in others.items()}
    return {name: version for name, version in current.items() if version} | {interactions.table: interactions}


def compute_view(lake: Lake, view: View, pins: Sequence[TableVersion], upto: datetime) -> TableVersion:
    """Append the view's rows that are due by ``upto`` (``created_timestamp <= upto``) and missing.

    ``created_timestamp`` is the window's end plus the schedule's delay, never the clock, so a back-fill sees what
    production would have seen. Returns the version that holds the rows: of this call, or of the first call with these
    inputs. An input that is not among ``pins`` is taken to be empty.
    """
    wanted = {one.contract.table for one in view.inputs}
    pinned = {version.table: version for version in pins if version.table in wanted}
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
    told = {UPTO: upto.isoformat()}
    return lake.tables.append(view.contract, rows, key=key, inputs=list(pinned.values()), properties=told)


def view_rows(view: View, rows: pa.Table, wanted: pa.Table, *others: pa.Table) -> pa.Table:
    """The view's rows in its contract's form for each (entity, event_timestamp) of ``wanted``; pure.

    ``rows`` are those of the first input, ``others`` those of the next; an input that is left out is empty.
    """
    engine = ibis_engine()
    given = [as_ibis(engine, name, one) for name, one in _filled(view.inputs, (rows, *others))]
    values = engine.to_pyarrow(view.transform(*given, as_ibis(engine, "wanted", wanted)))
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
    """Every (entity, event_timestamp) that the inputs call for and that is due by ``upto``; pure. Inputs as in
    ``view_rows``, less those that call for no window.
    """
    import ibis

    engine = ibis_engine()
    calling = [one for one in view.inputs if one.windows]
    windows = view.windows(*(as_ibis(engine, name, one) for name, one in _filled(calling, (rows, *others))))
    due = windows.filter(windows.event_timestamp.cast("timestamp('UTC')") <= ibis.literal(upto - view.delay))
    found = engine.to_pyarrow(due)
    return pa.table({view.entity: found[view.entity], EVENT_TIMESTAMP: _utc(found[EVENT_TIMESTAMP])})


def _span_rows(
    lake: Lake, view: View, pinned: Pins, current: TableVersion | None, upto: datetime, span: Span
) -> pa.Table:
    """The rows of a span's windows that are called for and not there, from no more than they depend on."""
    missing = _missing(lake, view, pinned, current, upto, span)
    if not missing.num_rows:
        return view.contract.arrow_schema.empty_table()
    ends = pa.compute.min_max(missing[EVENT_TIMESTAMP]).as_py()
    read = [_read(lake, one, pinned, one.columns, _before(one, ends["min"], ends["max"])) for one in view.inputs]
    return view_rows(view, read[0], missing, *read[1:])


def _missing(
    lake: Lake, view: View, pinned: Pins, current: TableVersion | None, upto: datetime, span: Span
) -> pa.Table:
    """The windows called for, less those that are stored. Reads a few narrow columns of each table."""
    calling = [one for one in view.inputs if one.windows]
    read = [_read(lake, one, pinned, one.windows, span.where("timestamp")) for one in calling]
    called_for = view_windows(view, read[0], upto, *read[1:])
    if current is None:
        return called_for
    stored = lake.tables.read(current, columns=[view.entity, EVENT_TIMESTAMP], where=span.ends(EVENT_TIMESTAMP))
    connection = connect()
    connection.register("called_for", called_for)
    connection.register("stored", stored)
    return connection.sql(f"FROM called_for ANTI JOIN stored USING ({view.entity}, {EVENT_TIMESTAMP})").to_arrow_table()


def _before(one: Input, first: datetime, last: datetime) -> str:
    """The rows of an input that windows ending from ``first`` to ``last`` depend on."""
    where = f"timestamp < '{last.isoformat()}'"
    return where if one.lookback is None else f"{where} and timestamp >= '{(first - one.lookback).isoformat()}'"


def _read(lake: Lake, one: Input, pinned: Pins, columns: Sequence[str], where: str) -> pa.Table:
    if one.contract.table not in pinned:
        return one.contract.arrow_schema.empty_table().select(list(columns))
    both = " and ".join(part for part in (one.where, where) if part)
    return lake.tables.read(pinned[one.contract.table], columns=columns, where=both)


def _filled(inputs: Sequence[Input], rows: Sequence[pa.Table]) -> list[tuple[str, pa.Table]]:
    """Each input's rows under a name of its own."""
    empty = [one.contract.arrow_schema.empty_table() for one in inputs[len(rows) :]]
    return [(one.contract.name.replace(".", "_"), table) for one, table in zip(inputs, (*rows, *empty), strict=True)]


def _key(view: View, pinned: Sequence[TableVersion], upto: datetime) -> str:
    """Digest of all that changes the rows."""
    versions = sorted(map(str, pinned))
    parts = [view.contract.table, view.contract.version, transforms.VERSION, *versions, upto.isoformat()]
    return f"features:{hashlib.sha256(json.dumps(parts).encode()).hexdigest()}"


def _utc(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The instants as UTC microseconds; Ibis drops the zone when it adds an interval."""
    return column.cast(pa.timestamp("us", tz="UTC"))

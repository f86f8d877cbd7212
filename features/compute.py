"""The scheduled computation: rows that are missing up to now, from one pinned snapshot of the interactions.

What is missing is found by looking, not remembered: the rows that the interactions call for, less those that are there.
So a second run is a no-op, a late file fills its own gaps, and a crash needs no repair. A row that is there stays as it
is, even where interactions arrived after it was computed: it is what production has seen.
"""

import hashlib
import json
import logging
from datetime import datetime

import pyarrow as pa

from features import transforms
from features.engine import as_ibis, connect, ibis_engine
from features.views import CREATED_TIMESTAMP, EVENT_TIMESTAMP, VIEWS, View
from lake.lake import Lake
from lake.versions import TableVersion

log = logging.getLogger("fuelline.features")


def compute_features(lake: Lake, interactions: TableVersion, upto: datetime) -> list[TableVersion]:
    """Compute every view, in the order of ``VIEWS``. See ``compute_view``."""
    return [compute_view(lake, view, interactions, upto) for view in VIEWS]


def compute_view(lake: Lake, view: View, interactions: TableVersion, upto: datetime) -> TableVersion:
    """Append the view's rows that are due by ``upto`` (``created_timestamp <= upto``) and missing.

    ``created_timestamp`` is the window's end plus the schedule's delay, never the clock, so a back-fill sees what
    production would have seen. Returns the version that holds the rows: of this call, or of the first call with these
    inputs.

    Raises:
        DataError: there is no row to compute and none was ever computed.
    """
    key = _key(view, interactions, upto)
    if done := lake.tables.find(view.contract, key):
        return done
    missing = _missing(lake, view, interactions, upto)
    current = lake.tables.current(view.contract)
    if current and not missing.num_rows:
        return current
    rows = _rows(lake, view, interactions, missing)
    log.info("%s: %d new rows from %s", view.contract.table, rows.num_rows, interactions)
    return lake.tables.append(view.contract, rows, key=key, inputs=(interactions,))


def view_rows(view: View, interactions: pa.Table, wanted: pa.Table) -> pa.Table:
    """The view's rows in its contract's form for each (entity, event_timestamp) of ``wanted``; pure."""
    engine = ibis_engine()
    values = engine.to_pyarrow(
        view.transform(as_ibis(engine, "interactions", interactions), as_ibis(engine, "wanted", wanted))
    )
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


def view_windows(view: View, interactions: pa.Table, upto: datetime) -> pa.Table:
    """Every (entity, event_timestamp) that the interactions call for and that is due by ``upto``; pure."""
    import ibis

    engine = ibis_engine()
    windows = view.windows(as_ibis(engine, "interactions", interactions))
    due = windows.filter(windows.event_timestamp.cast("timestamp('UTC')") <= ibis.literal(upto - view.delay))
    found = engine.to_pyarrow(due)
    return pa.table({view.entity: found[view.entity], EVENT_TIMESTAMP: _utc(found[EVENT_TIMESTAMP])})


def _missing(lake: Lake, view: View, interactions: TableVersion, upto: datetime) -> pa.Table:
    """The windows called for, less those that are stored. Reads two narrow columns of either table."""
    read = lake.tables.read(interactions, columns=[view.entity, "timestamp"])
    called_for = view_windows(view, read, upto)
    current = lake.tables.current(view.contract)
    if current is None:
        return called_for
    connection = connect()
    connection.register("called_for", called_for)
    connection.register("stored", lake.tables.read(current, columns=[view.entity, EVENT_TIMESTAMP]))
    return connection.sql(f"FROM called_for ANTI JOIN stored USING ({view.entity}, {EVENT_TIMESTAMP})").to_arrow_table()


def _rows(lake: Lake, view: View, interactions: TableVersion, missing: pa.Table) -> pa.Table:
    """The missing rows, from no more of the interactions than they depend on."""
    if not missing.num_rows:
        return view.contract.arrow_schema.empty_table()
    ends = pa.compute.min_max(missing[EVENT_TIMESTAMP]).as_py()
    where = f"timestamp < '{ends['max'].isoformat()}'"
    if view.lookback is not None:
        where += f" and timestamp >= '{(ends['min'] - view.lookback).isoformat()}'"
    return view_rows(view, lake.tables.read(interactions, columns=view.inputs, where=where), missing)


def _key(view: View, interactions: TableVersion, upto: datetime) -> str:
    """Digest of all that changes the rows."""
    parts = [view.contract.table, view.contract.version, transforms.VERSION, str(interactions), upto.isoformat()]
    return f"features:{hashlib.sha256(json.dumps(parts).encode()).hexdigest()}"


def _utc(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The instants as UTC microseconds; Ibis drops the zone when it adds an interval."""
    return column.cast(pa.timestamp("us", tz="UTC"))

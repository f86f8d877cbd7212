"""The training join: for each entity row, the feature values that production would have read at its timestamp.

A value may be used at time t if ``event_timestamp <= t`` (not from the future), ``created_timestamp <= t`` (already
available) and ``event_timestamp >= t - ttl``. Of those the newest is used, and of equal event times the one created
last. These are the point-in-time semantics of Feast with ``filter_by_created_timestamp``, edges included, and the tests
compare with Feast; but every entity row is returned exactly once, and the join costs about as much as one bare DuckDB
ASOF join.

An ASOF join supports one inequality, and there are two. Both hold once ``available = greatest(event, created)`` has
passed. If every row was created with the same delay after its event, as by scheduled materialization, the latest
available row is the newest one and the join is direct. Otherwise (a back-fill, a recomputation) rows that are already
outdated when they become available are dropped first.
"""

from collections.abc import Mapping

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from features.definitions.views import (
    CREATED_TIMESTAMP,
    EVENT_TIMESTAMP,
    INFRASTRUCTURE_FEATURES,
    VIEWS,
    View,
    namespace_keys,
)
from lake.lake import Lake
from lake.tables.engine import connect
from lake.tables.versions import TableVersion

VERSION = 2
"""Increases with every change of the join's results; part of a training set's identity."""
TIMESTAMP = "timestamp"


def as_of_join(entities: pa.Table, features: Mapping[View, pa.Table]) -> pa.Table:
    """Each row of ``entities`` once, in no particular order, with the values of every view as of its ``timestamp``.

    ``entities`` needs ``timestamp`` (UTC, microseconds) and the views' entity columns; ``features`` are the stored rows
    of the views. The new columns are named as in ``View.joined`` and null where no value may be used.
    """
    with connect() as db:
        db.register("entities", entities)
        for view, rows in features.items():
            db.register(f"{view.name}_rows", rows)
        joins = "\n".join(_join(db, view) for view in features)
        columns = ", ".join(["e.*", *(column for view in features for column in _values(view))])
        return db.sql(f"SELECT {columns} FROM entities AS e\n{joins}").to_arrow_table()


def join_pinned(
    lake: Lake,
    entities: pa.Table,
    users: TableVersion,
    agents: TableVersion,
    infrastructure: TableVersion | None = None,
) -> pa.Table:
    """``as_of_join`` with every view at a pinned snapshot, of which only the relevant days are read.

    ``entities`` also needs ``cluster``: an interaction gets the infrastructure features of its cluster's agents.
    Without a pinned version of these, their columns are null.
    """
    bounds = pc.min_max(entities[TIMESTAMP]).as_py()
    rows = {}
    for view, version in zip(VIEWS, (users, agents, infrastructure), strict=True):
        where = ""
        if bounds["min"] is not None:
            low, high = bounds["min"] - view.ttl, bounds["max"]
            where = f"{EVENT_TIMESTAMP} >= '{low.isoformat()}' and {EVENT_TIMESTAMP} <= '{high.isoformat()}'"
        rows[view] = lake.tables.read(version, where=where) if version else view.contract.arrow_schema.empty_table()
    keyed = entities.append_column(INFRASTRUCTURE_FEATURES.entity, namespace_keys(entities["cluster"]))
    return as_of_join(keyed, rows).drop_columns([INFRASTRUCTURE_FEATURES.entity])


def _join(db: duckdb.DuckDBPyConnection, view: View) -> str:
    """The ASOF join of one view, on ``available``."""
    delay = f"epoch_us({CREATED_TIMESTAMP}) - epoch_us({EVENT_TIMESTAMP})"
    [(shortest, longest)] = db.sql(f"SELECT min({delay}), max({delay}) FROM {view.name}_rows").fetchall()
    evenly_created = shortest is None or (shortest == longest and shortest >= 0)
    direct = f"SELECT *, {CREATED_TIMESTAMP} AS available FROM {view.name}_rows"
    rows = direct if evenly_created else _current_on_arrival(view)
    on = f"{view.name}.{view.entity} = e.{view.entity} AND {view.name}.available <= e.{TIMESTAMP}"
    return f"ASOF LEFT JOIN ({rows}) AS {view.name} ON {on}"


def _current_on_arrival(view: View) -> str:
    """The rows that were the newest of their entity when they became available, one per instant.

    In the order of availability a row is current if no row before it has a later event; of rows with the same event the
    last available one was created last.
    """
    arrival = f"PARTITION BY {view.entity} ORDER BY available, {EVENT_TIMESTAMP}, {CREATED_TIMESTAMP}"
    return f"""
        SELECT * FROM (SELECT *, greatest({EVENT_TIMESTAMP}, {CREATED_TIMESTAMP}) AS available FROM {view.name}_rows)
        QUALIFY {EVENT_TIMESTAMP} = max({EVENT_TIMESTAMP}) OVER ({arrival} ROWS UNBOUNDED PRECEDING)
            AND available IS DISTINCT FROM lead(available) OVER ({arrival})"""


def _values(view: View) -> list[str]:
    """The view's columns, null where the value is older than its TTL."""
    fresh = f"{view.name}.{EVENT_TIMESTAMP} >= e.{TIMESTAMP} - INTERVAL {int(view.ttl.total_seconds())} SECOND"
    return [f"CASE WHEN {fresh} THEN {view.name}.{stored} END AS {joined}" for stored, joined in view.joined.items()]

"""What a check reads: the number of new rows, hourly counts of calls and ratings, and features as of each request.

The triggers read ``History`` only, so the same code runs on a lake and, in a simulation, on months of generated
traffic. ``LakeHistory`` reads pinned table versions; what lies before a training's data cut is computed once and kept.
"""

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.batch import asof
from features.definitions.views import AGENT_FEATURES, INFRASTRUCTURE_FEATURES, VIEWS, View
from features.drift import MISSING, Profile, profile
from lake.contracts.agent_interactions import AGENT_FEEDBACK, AGENT_INTERACTIONS
from lake.contracts.training_sets import TRAINING_SETS
from lake.lake import Lake
from lake.maintenance.expiry import added_rows
from lake.tables.engine import connect
from lake.tables.versions import TableVersion
from models.registry.state import Training
from models.serialize import from_plain, to_plain
from models.triggers.counts import HOURLY

QUARANTINE = AGENT_INTERACTIONS.quarantine
TOO_SLOW = "latency_out_of_range"
"""Calls that are quarantined for their latency count, too: without them an outage would look like fewer errors."""
CUMULATIVE = frozenset({"total_queries", "avg_query_length", "most_used_agent", "error_rate", "avg_latency_ms"})
"""Features over a user's whole history, which are not compared. A count grows by itself; an average follows over months
what the requests and the agents' hours show on the same day, and would raise a second alarm for the same cause."""
LENGTHS = {"user_query": "query_characters", "response": "response_characters"}


@dataclass(frozen=True)
class FeatureSample:
    """Values of the compared features, one element for each request, and their clusters."""

    values: dict[str, np.ndarray]
    """By feature: float with NaN, or str with ``MISSING``."""
    clusters: dict[str, np.ndarray]
    """By feature: the user, or the agent's or the Kubernetes cluster's hour, as integer codes."""
    days: np.ndarray
    """The day of each request, as an integer."""


class History(Protocol):
    """The data that the triggers read. Times are UTC; ``end`` is excluded."""

    def added_rows(self, since: Training | None) -> int:
        """Interactions that landed since the snapshot of a training; all of them where it is None."""

    def calls(self, start: datetime, end: datetime) -> pa.Table:
        """Calls and failed ones by hour and agent (``HOURLY``), including those quarantined for their latency."""

    def calls_before(self, training: Training, start: datetime) -> pa.Table:
        """``calls`` from ``start`` to the training's data cut, as known then."""

    def ratings(self, start: datetime, end: datetime) -> pa.Table:
        """Ratings known by ``end`` of calls from ``start`` on: ``calls`` are rated, ``bad`` are rated bad."""

    def ratings_before(self, training: Training, start: datetime) -> pa.Table:
        """``ratings`` from ``start`` to the training's data cut, as known then."""

    def features(self, start: datetime, end: datetime) -> FeatureSample:
        """The compared features of requests, as production had them at each request."""

    def features_before(self, training: Training, start: datetime) -> list[Profile]:
        """Their profiles in the training set, from ``start`` to its data cut."""

    def versions(self) -> list[str]:
        """The table versions that are read, such as ``processed.agent_feedback@123``."""


@dataclass
class LakeHistory(History):
    """The history of one lake, at the table versions that are current when the object is made."""

    lake: Lake
    agents: Sequence[str] = ()
    """Whose calls are read; empty: every agent's. New rows are counted for all agents, from snapshot summaries."""

    def __post_init__(self) -> None:
        contracts = [AGENT_INTERACTIONS, QUARANTINE, AGENT_FEEDBACK, TRAINING_SETS, *(view.contract for view in VIEWS)]
        self._contracts = {contract.table: contract for contract in contracts}
        self._current = {contract.table: self.lake.tables.current(contract) for contract in contracts}

    def added_rows(self, since: Training | None) -> int:
        table = AGENT_INTERACTIONS.table
        pinned = next((name for name in since.inputs if name.startswith(f"{table}@")), None) if since else None
        # With 0 rows: a training does not record their number.
        version = TableVersion(table=table, snapshot_id=int(pinned.partition("@")[2]), rows=0) if pinned else None
        return added_rows(self.lake.tables, AGENT_INTERACTIONS, version)

    def calls(self, start: datetime, end: datetime) -> pa.Table:
        where = _between(start, end)
        columns = ["timestamp", "agent_name", "error"]
        slow = self._read(QUARANTINE.table, columns, f"{where} and reason == '{TOO_SLOW}'")
        parts = [self._read(AGENT_INTERACTIONS.table, columns, where), slow]
        rows = pa.concat_tables([part for part in parts if part.num_rows] or parts[:1], promote_options="permissive")
        return _hourly(rows.drop_null(), "error")

    def calls_before(self, training: Training, start: datetime) -> pa.Table:
        return self._kept_counts("calls", training, start, lambda: self.calls(start, training.cut))

    def ratings(self, start: datetime, end: datetime) -> pa.Table:
        columns = ["interaction_id", "timestamp", "agent_name", "feedback"]
        rows = self._read(AGENT_INTERACTIONS.table, columns, _between(start, end))
        ratings = self._read(AGENT_FEEDBACK.table, None, _between(start, end))
        db = connect()
        db.register("rows", rows)
        db.register("ratings", ratings)
        rated = db.sql("""
            WITH latest AS (
                SELECT interaction_id, arg_max(value, (timestamp, value)) AS value FROM ratings GROUP BY ALL)
            SELECT timestamp, agent_name, coalesce(latest.value, feedback) = 0 AS down
            FROM rows LEFT JOIN latest USING (interaction_id) WHERE down IS NOT NULL""").to_arrow_table()
        return _hourly(rated, "down")

    def ratings_before(self, training: Training, start: datetime) -> pa.Table:
        return self._kept_counts("ratings", training, start, lambda: self.ratings(start, training.cut))

    def features(self, start: datetime, end: datetime) -> FeatureSample:
        columns = ["timestamp", "agent_name", "user_id", "cluster", *LENGTHS]
        rows = self._read(AGENT_INTERACTIONS.table, columns, _between(start, end))
        users, agents, infrastructure = (self._current[view.contract.table] for view in VIEWS)
        if not rows.num_rows or users is None or agents is None:
            return FeatureSample(values={}, clusters={}, days=np.zeros(0, int))
        return _sample(asof.join_pinned(self.lake, rows, users, agents, infrastructure))

    def features_before(self, training: Training, start: datetime) -> list[Profile]:
        def profiles() -> bytes:
            joined = [column for view in VIEWS for column in view.joined.values()]
            columns = ["timestamp", "agent_name", "user_id", *LENGTHS, *joined]
            where = f"training_set_id == '{training.training_set_id}' and {_between(start, training.cut)}"
            sample = _sample(self._read_with_nulls(TRAINING_SETS.table, columns, where))
            found = (
                profile(name, values, sample.clusters[name], sample.days) for name, values in sample.values.items()
            )
            return json.dumps([to_plain(reference) for reference in found]).encode()

        return [from_plain(Profile, plain) for plain in json.loads(self._kept("features", training, start, profiles))]

    def versions(self) -> list[str]:
        return [str(version) for version in self._current.values() if version]

    def _kept_counts(self, kind: str, training: Training, start: datetime, count: Callable[[], pa.Table]) -> pa.Table:
        import pyarrow.parquet as pq

        def counted() -> bytes:
            buffer = io.BytesIO()
            pq.write_table(count(), buffer)
            return buffer.getvalue()

        return pq.read_table(pa.BufferReader(self._kept(kind, training, start, counted))).cast(HOURLY)

    def _kept(self, kind: str, training: Training, start: datetime, compute: Callable[[], bytes]) -> bytes:
        """A result about the past, which identifies no user: computed at the first check, kept for the others."""
        key = f"references/{training.training_set_id}/{kind}-{start:%Y%m%dT%H%M%S}"
        if not self.lake.store.exists(key):
            self.lake.store.write(key, compute())
        return self.lake.store.read(key)

    def _read_with_nulls(self, table: str, columns: list[str], where: str) -> pa.Table:
        """Read a table that may have been written before a column was added: it is null then."""
        version = self._current[table]
        present = {field.name for field in self.lake.tables.scan(version).projection().fields} if version else columns
        rows = self._read(table, [name for name in columns if name in present], where)
        complete = self._contracts[table].arrow_schema.empty_table().select(columns)
        return pa.concat_tables([complete, rows], promote_options="permissive")

    def _read(self, table: str, columns: list[str] | None, where: str) -> pa.Table:
        version = self._current[table]
        if version is None:
            empty = self._contracts[table].arrow_schema.empty_table()
            return empty.select(columns) if columns else empty
        if self.agents and "agent_name" in self._contracts[table].arrow_schema.names:
            where += f" and agent_name in ({', '.join(map(repr, self.agents))})"
        return self.lake.tables.read(version, columns=columns, where=where)


def _sample(rows: pa.Table) -> FeatureSample:
    """The compared features of joined rows."""
    users, agent_hours = _codes(rows["user_id"]), _window_end(rows, AGENT_FEATURES)
    hours = {
        AGENT_FEATURES.name: _codes(pc.binary_join_element_wise(rows["agent_name"], agent_hours, "@")),
        # One cluster for all Kubernetes clusters of an hour, because they are not independent.
        INFRASTRUCTURE_FEATURES.name: _codes(_window_end(rows, INFRASTRUCTURE_FEATURES)),
    }
    values: dict[str, np.ndarray] = {"agent_name": _strings(rows["agent_name"])}
    clusters = {"agent_name": users}
    for column, name in LENGTHS.items():
        values[name], clusters[name] = _numbers(pc.utf8_length(rows[column])), users
    columns = [(view.prefix + column.name, column.type, view) for view in VIEWS for column in view.columns]
    for name, kind, view in columns:
        if name not in CUMULATIVE:
            values[name] = _strings(rows[name]) if pa.types.is_string(kind) else _numbers(rows[name])
            clusters[name] = hours.get(view.name, users)
    days = rows["timestamp"].cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()).to_numpy() // 86_400_000_000
    return FeatureSample(values=values, clusters=clusters, days=days)


def _numbers(column: pa.ChunkedArray) -> np.ndarray:
    return column.cast(pa.float64()).to_numpy()


def _strings(column: pa.ChunkedArray) -> np.ndarray:
    return np.array(pc.fill_null(column, MISSING).to_pylist(), dtype=str)


def _window_end(rows: pa.Table, view: View) -> pa.ChunkedArray:
    """End of the window of each row's value, as text; empty where it has none."""
    return pc.fill_null(rows[view.time_column].cast(pa.int64()).cast(pa.string()), "")


def _codes(column: pa.ChunkedArray) -> np.ndarray:
    return column.combine_chunks().dictionary_encode().indices.to_numpy()


def _hourly(rows: pa.Table, bad: str) -> pa.Table:
    db = connect()
    db.register("rows", rows)
    counted = db.sql(f"""
        SELECT date_trunc('hour', timestamp) AS hour, agent_name AS slice, count(*) AS calls,
               count(*) FILTER ({bad})::BIGINT AS bad
        FROM rows GROUP BY ALL ORDER BY ALL""")
    return counted.to_arrow_table().cast(HOURLY)


def _between(start: datetime, end: datetime) -> str:
    return f"timestamp >= '{start.isoformat()}' and timestamp < '{end.isoformat()}'"

"""What a look reads: how many rows are new, hourly counts of calls and ratings, and features as of each request.

``History`` is all that the triggers know of the world, so that they run on a lake and, in a simulation, on months of
made traffic, without a line of difference. ``LakeHistory`` answers from pinned versions; what belongs to the past, the
time before a training's cut, is worked out once and kept.
"""

import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.batch import asof
from features.definitions.views import AGENT_FEATURES, INFRASTRUCTURE_FEATURES, VIEWS, View
from features.drift import MISSING, Profile, profile
from lake.contracts.agent_feedback import AGENT_FEEDBACK
from lake.contracts.agent_interactions import AGENT_INTERACTIONS
from lake.contracts.quarantine import quarantine_of
from lake.contracts.training_sets import TRAINING_SETS
from lake.lake import Lake
from lake.maintenance.expiry import added_rows
from lake.tables.engine import connect
from lake.tables.versions import TableVersion
from models.registry.state import Training
from models.serialize import from_plain, to_plain
from models.triggers.counts import HOURLY

SLOW = quarantine_of(AGENT_INTERACTIONS)
TOO_SLOW = "latency_out_of_range"
"""Calls quarantined for being slow happened all the same: without them an outage would look like fewer errors."""
CUMULATIVE = frozenset({"total_queries", "avg_query_length", "most_used_agent", "error_rate", "avg_latency_ms"})
"""Users' features over all their time. The count grows by what it is; the averages follow slowly, for months, what the
requests themselves and the agents' hours show on the same day: they would raise a second alarm for the same cause."""
LENGTHS = {"user_query": "query_characters", "response": "response_characters"}


@dataclass(frozen=True)
class Sample:
    """Values of the features that are watched, one element a request, and whose they are."""

    values: dict[str, np.ndarray]
    """Float with NaN, or str with ``MISSING``."""
    clusters: dict[str, np.ndarray]
    """For each feature the user, or the agent's or the cluster's hour, as integer codes."""
    days: np.ndarray
    """The day of each request, as an integer."""


class History(Protocol):
    """The world as the triggers see it. Times are UTC; ``end`` is never included."""

    def added_rows(self, since: Training | None) -> int:
        """Interactions that landed since the snapshot of a training, ever where it is None."""
        ...

    def calls(self, start: datetime, end: datetime) -> pa.Table:
        """Calls and failed ones by hour and agent (``HOURLY``), slow ones that were quarantined included."""
        ...

    def calls_before(self, training: Training, start: datetime) -> pa.Table:
        """The same from ``start`` to the training's cut, as it was known then."""
        ...

    def ratings(self, start: datetime, end: datetime) -> pa.Table:
        """Ratings known by ``end`` of calls from ``start`` on: rated as ``calls``, thumbs down as ``bad``."""
        ...

    def ratings_before(self, training: Training, start: datetime) -> pa.Table:
        """The same from ``start`` to the training's cut, as it was known then."""
        ...

    def features(self, start: datetime, end: datetime) -> Sample:
        """The watched features of requests, as production had them at each request."""
        ...

    def features_before(self, training: Training, start: datetime) -> list[Profile]:
        """The training set's side of them, from ``start`` to its cut."""
        ...

    def versions(self) -> list[str]:
        """The table versions that are read."""
        ...


@dataclass
class LakeHistory:
    """The history of one lake, at the versions that are current when it is made."""

    lake: Lake
    agents: Sequence[str] = ()
    """Whose calls are looked at; empty: every agent's. New rows are counted whoever's they are, from summaries."""

    def __post_init__(self) -> None:
        forms = [AGENT_INTERACTIONS, SLOW, AGENT_FEEDBACK, TRAINING_SETS, *(view.contract for view in VIEWS)]
        self._forms = {form.table: form for form in forms}
        self._now = {form.table: self.lake.tables.current(form) for form in forms}

    def added_rows(self, since: Training | None) -> int:
        """See ``History``."""
        pinned = since and version_of(since, AGENT_INTERACTIONS.table)
        return added_rows(self.lake.tables, AGENT_INTERACTIONS, pinned or None)

    def calls(self, start: datetime, end: datetime) -> pa.Table:
        """See ``History``."""
        where = _between(start, end)
        parts = [self._read(AGENT_INTERACTIONS.table, ["timestamp", "agent_name", "error"], where)]
        slow = f"{where} and reason == '{TOO_SLOW}'"
        parts.append(self._read(SLOW.table, ["timestamp", "agent_name", "error"], slow))
        told = pa.concat_tables([part for part in parts if part.num_rows] or parts[:1], promote_options="permissive")
        known = told.filter(pc.and_(pc.is_valid(told["agent_name"]), pc.is_valid(told["error"])))
        return _hourly(known, "error")

    def calls_before(self, training: Training, start: datetime) -> pa.Table:
        """See ``History``."""
        return self._kept_counts("calls", training, start, lambda: self.calls(start, training.cut))

    def ratings(self, start: datetime, end: datetime) -> pa.Table:
        """See ``History``."""
        columns = ["interaction_id", "timestamp", "agent_name", "feedback"]
        rows = self._read(AGENT_INTERACTIONS.table, columns, _between(start, end))
        thumbs = self._read(AGENT_FEEDBACK.table, None, _between(start, end))
        db = connect()
        db.register("rows", rows)
        db.register("thumbs", thumbs)
        rated = db.sql("""
            WITH latest AS (SELECT interaction_id, arg_max(value, (timestamp, value)) AS value FROM thumbs GROUP BY ALL)
            SELECT timestamp, agent_name, coalesce(latest.value, feedback) = 0 AS down
            FROM rows LEFT JOIN latest USING (interaction_id) WHERE down IS NOT NULL""").to_arrow_table()
        return _hourly(rated, "down")

    def ratings_before(self, training: Training, start: datetime) -> pa.Table:
        """See ``History``."""
        return self._kept_counts("ratings", training, start, lambda: self.ratings(start, training.cut))

    def features(self, start: datetime, end: datetime) -> Sample:
        """See ``History``."""
        columns = ["timestamp", "agent_name", "user_id", "cluster", *LENGTHS]
        rows = self._read(AGENT_INTERACTIONS.table, columns, _between(start, end))
        users, agents, infrastructure = (self._now[view.contract.table] for view in VIEWS)
        if not rows.num_rows or users is None or agents is None:
            return Sample(values={}, clusters={}, days=np.zeros(0, int))
        return _sample(asof.join_pinned(self.lake, rows, users, agents, infrastructure))

    def features_before(self, training: Training, start: datetime) -> list[Profile]:
        """See ``History``."""
        key = _place("features", training, start)
        if not self.lake.store.exists(key):
            found = self._profiles(training, start)
            self.lake.store.write(key, json.dumps([to_plain(one) for one in found]).encode())
        return [from_plain(Profile, plain) for plain in json.loads(self.lake.store.read(key))]

    def versions(self) -> list[str]:
        """See ``History``."""
        return [str(version) for version in self._now.values() if version]

    def _profiles(self, training: Training, start: datetime) -> list[Profile]:
        joined = [column for view in VIEWS for column in view.joined.values()]
        columns = ["timestamp", "agent_name", "user_id", *LENGTHS, *joined]
        where = f"training_set_id == '{training.training_set_id}' and {_between(start, training.cut)}"
        sample = _sample(self._told(TRAINING_SETS.table, columns, where))
        return [profile(name, values, sample.clusters[name], sample.days) for name, values in sample.values.items()]

    def _kept_counts(self, kind: str, training: Training, start: datetime, count: Callable[[], pa.Table]) -> pa.Table:
        """Hourly counts of the past: counted at the first look, kept for the others."""
        import pyarrow.parquet as pq

        key = _place(kind, training, start)
        if not self.lake.store.exists(key):
            buffer = io.BytesIO()
            pq.write_table(count(), buffer)
            self.lake.store.write(key, buffer.getvalue())
        return pq.read_table(pa.BufferReader(self.lake.store.read(key))).cast(HOURLY)

    def _told(self, table: str, columns: list[str], where: str) -> pa.Table:
        """The same of a table that may have been written before a column was added: what was not told is null."""
        version = self._now[table]
        there = {field.name for field in self.lake.tables.scan(version).projection().fields} if version else columns
        rows = self._read(table, [name for name in columns if name in there], where)
        for name in columns:
            if name not in there:
                nothing = pa.nulls(rows.num_rows, self._forms[table].arrow_schema.field(name).type)
                rows = rows.append_column(name, nothing)
        return rows

    def _read(self, table: str, columns: list[str] | None, where: str) -> pa.Table:
        version = self._now[table]
        if version is None:
            empty = self._forms[table].arrow_schema.empty_table()
            return empty.select(columns) if columns else empty
        if self.agents and "agent_name" in self._forms[table].arrow_schema.names:
            where += f" and agent_name in ({', '.join(map(repr, self.agents))})"
        return self.lake.tables.read(version, columns=columns, where=where)


def version_of(training: Training, table: str) -> TableVersion | None:
    """The version of a table that a training was pinned to; its row count is not recorded there."""
    for name in training.inputs:
        if name.startswith(f"{table}@"):
            return TableVersion(table=table, snapshot_id=int(name.partition("@")[2]), rows=0)
    return None


def _sample(rows: pa.Table) -> Sample:
    """The watched features of joined rows."""
    users = _codes(rows["user_id"])
    hours = {
        AGENT_FEATURES.name: _codes(pc.binary_join_element_wise(rows["agent_name"], _ended(rows, AGENT_FEATURES), "@")),
        INFRASTRUCTURE_FEATURES.name: _codes(_ended(rows, INFRASTRUCTURE_FEATURES)),  # clusters share an hour's weather
    }
    values: dict[str, np.ndarray] = {"agent_name": _words(rows["agent_name"])}
    clusters = {"agent_name": users}
    for column, name in LENGTHS.items():
        values[name], clusters[name] = _numbers(pc.utf8_length(rows[column])), users
    for name, numeric, view in _watched():
        values[name] = _numbers(rows[name]) if numeric else _words(rows[name])
        clusters[name] = hours.get(view.name, users)
    days = rows["timestamp"].cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()).to_numpy() // 86_400_000_000
    return Sample(values=values, clusters=clusters, days=days)


def _watched() -> Iterator[tuple[str, bool, View]]:
    for view in VIEWS:
        for column in view.columns:
            if view.prefix + column.name not in CUMULATIVE:
                yield view.prefix + column.name, not pa.types.is_string(column.type), view


def _numbers(column: pa.ChunkedArray) -> np.ndarray:
    numbers: np.ndarray = column.cast(pa.float64()).to_numpy()
    return numbers


def _words(column: pa.ChunkedArray) -> np.ndarray:
    return np.array(pc.fill_null(column, MISSING).to_pylist(), dtype=str)


def _ended(rows: pa.Table, view: View) -> pa.ChunkedArray:
    """When the window of each row's value ended, as text; empty where it has none."""
    return pc.fill_null(rows[view.time_column].cast(pa.int64()).cast(pa.string()), "")


def _codes(column: pa.ChunkedArray) -> np.ndarray:
    codes: np.ndarray = column.combine_chunks().dictionary_encode().indices.to_numpy()
    return codes


def _hourly(rows: pa.Table, bad: str) -> pa.Table:
    db = connect()
    db.register("rows", rows)
    return (
        db.sql(f"""
        SELECT date_trunc('hour', timestamp) AS hour, agent_name AS slice, count(*) AS calls,
               count(*) FILTER ({bad})::BIGINT AS bad
        FROM rows GROUP BY ALL ORDER BY ALL""")
        .to_arrow_table()
        .cast(HOURLY)
    )


def _between(start: datetime, end: datetime) -> str:
    return f"timestamp >= '{start.isoformat()}' and timestamp < '{end.isoformat()}'"


def _place(kind: str, training: Training, start: datetime) -> str:
    """Where the past is kept. Nothing in it says who anybody is."""
    return f"references/{training.training_set_id}/{kind}-{start:%Y%m%dT%H%M%S}"

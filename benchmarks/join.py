"""The training join of 100,000 entity rows and 1,000,000 feature rows: ours, a bare DuckDB ASOF join, Feast's stores.

The bare join is what DuckDB alone needs for the nearest earlier row: no TTL, no creation times. Both start and end with
Arrow tables in memory. Feast reads Parquet and returns pandas, so ours does the same beside it. Twenty thousand users
have fifty daily rows each. ``scheduled`` rows were all created two hours after their event; ``back-filled`` ones at
any time within three days, which is the harder case.
"""

import statistics
import time
from typing import TYPE_CHECKING

from benchmarks.harness import Figures, Job, JobFailed, Options, in_turns, prepared
from benchmarks.table import Line

if TYPE_CHECKING:
    import pyarrow as pa

USERS, DAYS, ENTITIES = 20_000, 50, 100_000
BARE_TIMES = 2.0
REPEATS = 5
"""Joins per turn if one takes a fraction of a second; the median counts."""
FEAST = "benchmarks.join_feast:join"


def measure(options: Options) -> list[Line]:
    """Measure and compare."""
    users, entities = options.size(USERS, USERS // 20), options.size(ENTITIES, ENTITIES // 20)
    features = {
        kind: str(
            prepared(
                f"features-{kind}-v1-{users}.parquet", "benchmarks.join_inputs:write_features", users=users, kind=kind
            )
        )
        for kind in ("scheduled", "back-filled")
    }
    entities_file = str(
        prepared(f"entities-v1-{entities}.parquet", "benchmarks.join_inputs:write_entities", rows=entities, users=users)
    )
    scheduled = {"entities": entities_file, "features": features["scheduled"]}
    back_filled = {"entities": entities_file, "features": features["back-filled"]}
    found = in_turns(
        [
            Job(name="ours, scheduled", target="benchmarks.join:ours", arguments=scheduled),
            Job(name="bare DuckDB ASOF join", target="benchmarks.join:bare", arguments=scheduled),
            Job(name="ours, back-filled", target="benchmarks.join:ours", arguments=back_filled),
            Job(name="bare, back-filled", target="benchmarks.join:bare", arguments=back_filled),
            Job(name="ours, Parquet to pandas", target="benchmarks.join:ours_from_files", arguments=scheduled),
            Job(name="Feast, DuckDB store", target=FEAST, arguments={**scheduled, "store": "duckdb"}),
            Job(name="Feast, dask store", target=FEAST, arguments={**scheduled, "store": "dask"}),
        ],
        options.runs,
    )
    ours, expected = found["ours, Parquet to pandas"]["matched"], found["Feast, DuckDB store"]["matched"]
    if ours != expected:
        raise JobFailed(f"ours found values for {ours:,.0f} rows, Feast's DuckDB store for {expected:,.0f}")
    return _lines(found, f"As-of join of {entities:,} x {users * DAYS:,} rows", entities)


def _lines(found: dict[str, Figures], what: str, entities: int) -> list[Line]:
    lines = [
        Line(
            what=f"{what}, {kind}" if kind == "scheduled" else kind,
            unit="s",
            ours=found[f"ours, {kind}"]["seconds"],
            peer="bare DuckDB ASOF join",
            theirs=found[peer]["seconds"],
            most_ratio=BARE_TIMES,
        )
        for kind, peer in (("scheduled", "bare DuckDB ASOF join"), ("back-filled", "bare, back-filled"))
    ]
    ours = found["ours, Parquet to pandas"]
    for peer in ("Feast, DuckDB store", "Feast, dask store"):
        lost = entities - int(found[peer]["rows"])
        label = f"{peer} (drops {lost:,} rows)" if lost else peer
        for unit, name in (("s", "seconds"), ("MB peak", "peak_mb")):
            what = "scheduled, Parquet to pandas" if unit == "s" else ""
            lines.append(Line(what=what, unit=unit, ours=ours[name], peer=label, theirs=found[peer][name]))
    return lines


def ours(entities: str, features: str, scratch: str) -> Figures:
    """``features.batch.asof.as_of_join``, Arrow in memory to Arrow in memory."""
    import pyarrow.parquet as pq

    from features.batch.asof import as_of_join
    from features.definitions.views import USER_FEATURES

    requests, rows = pq.read_table(entities), pq.read_table(features)
    stored = {USER_FEATURES: rows}
    as_of_join(requests.slice(0, 1000), stored)
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        joined = as_of_join(requests, stored)
        times.append(time.perf_counter() - began)
    return {"seconds": statistics.median(times), "rows": joined.num_rows}


def bare(entities: str, features: str, scratch: str) -> Figures:
    """DuckDB's ASOF join alone, same tables and columns."""
    import pyarrow.parquet as pq

    requests, rows = pq.read_table(entities), pq.read_table(features)
    _bare(requests.slice(0, 1000), rows)
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        joined = _bare(requests, rows)
        times.append(time.perf_counter() - began)
    return {"seconds": statistics.median(times), "rows": joined.num_rows}


def _bare(entities: "pa.Table", rows: "pa.Table") -> "pa.Table":

    from features.definitions.views import USER_FEATURES
    from lake.tables.engine import connect

    connection = connect()
    connection.register("entities", entities)
    connection.register("features", rows)
    columns = ", ".join(f"f.{stored} AS {joined}" for stored, joined in USER_FEATURES.joined.items())
    on = "f.user_id = e.user_id AND f.event_timestamp <= e.timestamp"
    return connection.sql(
        f"SELECT e.*, {columns} FROM entities AS e ASOF LEFT JOIN features AS f ON {on}"
    ).to_arrow_table()


def ours_from_files(entities: str, features: str, scratch: str) -> Figures:
    """As through Feast's stores: features in a Parquet file, entities and result in pandas."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from features.batch.asof import as_of_join
    from features.definitions.views import USER_FEATURES

    frame = pq.read_table(entities).to_pandas()
    as_of_join(
        pa.Table.from_pandas(frame[:1000]),
        {USER_FEATURES: pq.read_table(features).slice(0, 1000)},
    )
    began = time.perf_counter()
    stored = {USER_FEATURES: pq.read_table(features)}
    joined = as_of_join(pa.Table.from_pandas(frame, preserve_index=False), stored).to_pandas()
    return {
        "seconds": time.perf_counter() - began,
        "rows": len(joined),
        "matched": int(joined["total_queries"].count()),
    }

"""Hourly commits for 90 days: the time of a commit and a read at ten points, with and without daily maintenance.

Each hour adds a few rows in each of two clusters, as quiet agents do, so the cost is that of the table's metadata:
snapshots, lists of files, files. A read is a week of one column, as in a check of the error rate. Maintenance keeps the
168 newest snapshots, seven days of hours: their clock is that of the machine, so age is counted in snapshots.

Only the measured commits are complete appends, the last of their day. The others are made in one transaction per day,
with the same snapshot, list and two files for every hour, in minutes instead of hours. Orphans are not removed: no read
or commit opens one.
"""

import statistics
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.harness import Figures, Job, Options, in_turns
from benchmarks.table import Line

if TYPE_CHECKING:
    import pyarrow as pa

    from lake.lake import Lake

DAYS, POINTS, CLUSTERS, ROWS_A_CLUSTER = 90, 10, ("studio", "forge"), 5
KEPT_SNAPSHOTS = 7 * 24
COMMITS, READS = 6, 5
"""Measurements at each point; the median counts."""
START = datetime(2026, 7, 1, tzinfo=UTC)
FLAT, GROWN = 2.0, 1.5


def measure(options: Options) -> list[Line]:
    """Measure both, print the curves, and compare the last point of each with its first and with the other's last."""
    days = options.size(DAYS, 10)
    jobs = [
        Job(name=name, target=f"benchmarks.small_files:{name}", arguments={"days": days}, runs=1)
        for name in ("maintained", "unmaintained")
    ]
    found = in_turns(jobs, 1)
    print(curve(found["maintained"], found["unmaintained"]))
    return [line for what in ("commit", "read") for line in (_growth(found, what, days), _end(found, what, days))]


def maintained(scratch: str, days: int) -> Figures:
    """With daily maintenance."""
    return _grow(Path(scratch), days, maintained=True)


def unmaintained(scratch: str, days: int) -> Figures:
    """Without maintenance."""
    return _grow(Path(scratch), days, maintained=False)


def curve(maintained_figures: Figures, without: Figures) -> str:
    """Both curves, one line per point."""
    header = (
        f"{'day':>4} {'commit s':>16} {'read s':>16} {'files':>13} {'snapshots':>13}   (with maintenance / without)"
    )
    lines = [header]
    for point in range(1, POINTS + 1):
        seconds = [
            (maintained_figures[f"{name}_{point}"], without[f"{name}_{point}"]) for name in ("commit_s", "read_s")
        ]
        held = [(maintained_figures[f"{name}_{point}"], without[f"{name}_{point}"]) for name in ("files", "snapshots")]
        times = " ".join(f"{ours:7.3f} /{theirs:7.3f}" for ours, theirs in seconds)
        counts = " ".join(f"{ours:5.0f} /{theirs:6.0f}" for ours, theirs in held)
        lines.append(f"{maintained_figures[f'day_{point}']:4.0f} {times} {counts}")
    return "\n".join(lines)


def _growth(found: dict[str, Figures], what: str, days: int) -> Line:
    """How many times as long the last point takes as the first; the peer is the same table without maintenance."""
    growth = {name: figures[f"{what}_s_{POINTS}"] / figures[f"{what}_s_1"] for name, figures in found.items()}
    return Line(
        what=f"A {what} after {days} days of hourly commits",
        unit="x the first point's",
        ours=growth["maintained"],
        peer="the same table without maintenance",
        theirs=growth["unmaintained"],
        most=FLAT,
    )


def _end(found: dict[str, Figures], what: str, days: int) -> Line:
    """How long the last point takes. A read of a week has its week's files at the first point already."""
    last = {name: figures[f"{what}_s_{POINTS}"] for name, figures in found.items()}
    return Line(
        what=f"The same {what} at day {days}",
        unit="s",
        ours=last["maintained"],
        peer="the same table without maintenance",
        theirs=last["unmaintained"],
        most_ratio=1 / GROWN,
    )


def _grow(folder: Path, days: int, *, maintained: bool) -> Figures:
    from lake.lake import open_lake
    from settings import read_settings

    lake = open_lake(read_settings(home=folder / "home", lake="bench", cache=folder / "cache"))
    marks = {round(days * point / POINTS): point for point in range(1, POINTS + 1)}
    figures: Figures = {}
    _commit(lake, START - timedelta(hours=1))  # creates the table
    for day in range(days):
        hours = [START + timedelta(days=day, hours=hour) for hour in range(24)]
        point = marks.get(day + 1)
        measured = COMMITS if point else 0
        _append_together(lake, hours[: 24 - measured])
        took = [_commit(lake, hour) for hour in hours[24 - measured :]]
        if maintained:
            _maintain(lake)
        if point:
            measurements = {"day": day + 1.0, "commit_s": statistics.median(took), "read_s": _read_s(lake, hours[-1])}
            figures |= {f"{name}_{point}": value for name, value in {**measurements, **_weight(lake)}.items()}
    return figures


def _append_together(lake: "Lake", hours: list[datetime]) -> None:
    """One snapshot an hour, in one transaction."""
    from pyiceberg.io.pyarrow import _dataframe_to_data_files

    from lake.contracts.agent_interactions import AGENT_INTERACTIONS
    from lake.tables.properties import KEY

    table = lake.tables.load(AGENT_INTERACTIONS.table)
    with table.transaction() as transaction:
        for hour in hours:
            properties = {KEY: hour.isoformat()}
            with transaction.update_snapshot(snapshot_properties=properties).fast_append() as append:
                for file in _dataframe_to_data_files(table.metadata, _rows(hour), table.io):
                    append.append_data_file(file)


def _commit(lake: "Lake", hour: datetime) -> float:
    from lake.contracts.agent_interactions import AGENT_INTERACTIONS

    rows = _rows(hour)
    begun = time.perf_counter()
    lake.tables.append(AGENT_INTERACTIONS, rows, key=hour.isoformat())
    return time.perf_counter() - begun


def _rows(hour: datetime) -> "pa.Table":
    import pyarrow as pa

    from lake.contracts.agent_interactions import AGENT_INTERACTIONS

    listed = [
        {
            "interaction_id": f"{hour:%Y%m%d%H}-{cluster}-{number}",
            "timestamp": hour + timedelta(minutes=number, seconds=CLUSTERS.index(cluster)),
            "agent_name": "bruno",
            "user_id": f"user-{number}",
            "user_query": "How warm is it in the greenhouse?",
            "response": "It is 21 degrees in the greenhouse.",
            "latency_ms": 900,
            "tokens_used": 40,
            "error": False,
            "feedback": None,
            "model_version": "base",
            "cluster": cluster,
        }
        for cluster in CLUSTERS
        for number in range(ROWS_A_CLUSTER)
    ]
    return pa.Table.from_pylist(listed, schema=AGENT_INTERACTIONS.arrow_schema)


def _maintain(lake: "Lake") -> None:
    from lake.contracts.agent_interactions import AGENT_INTERACTIONS
    from lake.maintenance.compaction import CompactionPolicy, compact
    from lake.maintenance.expiry import expire

    compact(lake.tables, AGENT_INTERACTIONS, CompactionPolicy())
    snapshots = lake.tables.snapshots(AGENT_INTERACTIONS)
    if len(snapshots) > KEPT_SNAPSHOTS:
        oldest = datetime.fromtimestamp(snapshots[-KEPT_SNAPSHOTS].timestamp_ms / 1000, UTC)
        expire(lake.tables, AGENT_INTERACTIONS, oldest)


def _read_s(lake: "Lake", now: datetime) -> float:
    from lake.contracts.agent_interactions import AGENT_INTERACTIONS

    version, took = lake.tables.current(AGENT_INTERACTIONS), []
    assert version
    where = f"timestamp >= '{(now - timedelta(days=7)).isoformat()}'"
    for _ in range(READS):
        begun = time.perf_counter()
        lake.tables.read(version, columns=["error"], where=where)
        took.append(time.perf_counter() - begun)
    return statistics.median(took)


def _weight(lake: "Lake") -> dict[str, float]:
    from lake.contracts.agent_interactions import AGENT_INTERACTIONS

    table = lake.tables.load(AGENT_INTERACTIONS.table)
    return {"files": float(len(list(table.scan().plan_files()))), "snapshots": float(len(table.snapshots()))}

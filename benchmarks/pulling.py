"""Rows per second of each pulled source: requested, landed, checked and committed.

The servers run in a process of their own and answer at once, over loopback, so that the figures are those of the
reader alone; a real server and network are slower, above all for sources with one request per row.
"""

import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from benchmarks.harness import Figures, Job, Options, in_turns
from benchmarks.pulling_server import DAY, SPANS
from benchmarks.table import Line

POINTS = 1_440
"""Points of a series per day, one per minute."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """A source, its query, and the number of rows in the response."""

    data_set: str
    peer: str
    query: str
    rows: int


def cases(quick: bool) -> dict[str, Case]:
    """Every source with the rows of a day."""
    part = 20 if quick else 1
    series, lines, events, runs, traces = 500 // part, 400_000 // part, 100_000 // part, 21_600 // part, 2_160 // part
    return {
        "Prometheus": Case(data_set="metrics", peer="prometheus", query=str(series), rows=series * POINTS),
        "Loki": Case(data_set="logs", peer="loki", query=str(lines), rows=lines),
        "Kubernetes": Case(data_set="kubernetes_events", peer="kubernetes", query=str(events), rows=events),
        "GitHub runs": Case(data_set="workflow_runs", peer="github", query=f"{runs}/x", rows=runs),
        "Tempo": Case(data_set="traces", peer="tempo", query=str(traces), rows=traces * SPANS),
    }


def measure(options: Options) -> list[Line]:
    """Measure each source; no peer does the same."""
    jobs = [
        Job(name=name, target="benchmarks.pulling:pull", arguments={"name": name, "quick": options.quick})
        for name in cases(options.quick)
    ]
    found = in_turns(jobs, options.runs)
    return [
        line
        for name, case in cases(options.quick).items()
        for line in (
            Line(what=f"Pulling {case.rows:,} rows, {name}", unit="rows/s", ours=found[name]["rows_per_s"]),
            Line(what=f"The same, requested and parsed, {name}", unit="rows/s", ours=found[name]["requested_per_s"]),
            Line(what=f"The same, peak memory, {name}", unit="MB", ours=found[name]["peak_mb"]),
        )
    ]


def pull(scratch: str, name: str, quick: bool) -> Figures:
    """Pull one day of a source into a fresh lake."""
    from lake.lake import open_lake
    from lake.sources.pull import connect, pull_chunk
    from lake.sources.query import WindowQuery
    from lake.sources.registry import pull_source
    from lake.sources.selection import Selection
    from lake.windows import Window
    from settings import read_settings

    case, day = cases(quick)[name], Window(start=DAY, end=DAY + timedelta(days=1))
    server = subprocess.Popen([sys.executable, "-m", "benchmarks.pulling_server"], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout
        address = server.stdout.readline().strip()
        addresses = {case.peer: f"bench={address}"}
        settings = read_settings(home=Path(scratch), lake="bench", **addresses)
        lake = open_lake(settings, clock=lambda: DAY + timedelta(days=2))
        data_set = f"processed.{case.data_set}"
        begun = time.perf_counter()
        done = pull_chunk(lake, Selection(data_set=data_set, queries={"all": case.query}, chunk_minutes=240), day)
        took = time.perf_counter() - begun
        assert sum(pulled.committed for pulled in done) == case.rows, done
        remote = connect(settings.endpoints(case.peer)[0])
        fetching = WindowQuery(client=remote, name="all", text=case.query, window=day)
        begun = time.perf_counter()
        assert sum(1 for _ in pull_source(data_set).rows(fetching)) == case.rows
        requested_s = time.perf_counter() - begun
    finally:
        server.terminate()
        server.wait(10)
    return {"rows_per_s": case.rows / took, "requested_per_s": case.rows / requested_s}

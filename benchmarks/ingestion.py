"""Raw JSON lines to checked rows in Iceberg: ours, pandas with Great Expectations, and DuckDB without checks."""

import os
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.harness import Figures, Job, JobFailed, Options, in_turns, prepared
from benchmarks.table import Line

if TYPE_CHECKING:
    from lake.ingest.pipeline import Ingested

ROWS = 1_000_000
ROWS_PER_S, PEAK_MB = 200_000, 2_048
GE = "pandas + Great Expectations"


def measure(options: Options) -> list[Line]:
    """Measure and compare; the two that check must agree on every count."""
    rows = options.size(ROWS, 100_000)
    sample, log, twice = _log(5_000), _log(rows), _log(2 * rows)
    both = {"log": str(log), "sample": str(sample)}
    found = in_turns(
        [
            Job(name="ours", target="benchmarks.ingestion:ours", arguments=both),
            Job(name=GE, target="benchmarks.ingestion_peer:ingest", arguments=both, peer=True),
            Job(name="bare DuckDB", target="benchmarks.ingestion:bare", arguments=both),
            Job(
                name="ours, twice the rows",
                target="benchmarks.ingestion:ours",
                arguments={**both, "log": str(twice)},
                runs=1,
            ),
        ],
        options.runs,
    )
    ours, peer, bare = found["ours"], found[GE], found["bare DuckDB"]
    for count in ("committed", "quarantined", "duplicates"):
        if ours[count] != peer[count]:
            raise JobFailed(f"ours and {GE} disagree: {count} {ours[count]:,.0f} against {peer[count]:,.0f}")
    what = f"Ingestion of {rows:,} interactions ({log.stat().st_size / 1e6:,.0f} MB)"
    return [
        Line(what=what, unit="s", ours=ours["seconds"], peer=GE, theirs=peer["seconds"]),
        Line(
            what="",
            unit="rows/s",
            ours=rows / ours["seconds"],
            peer=GE,
            theirs=rows / peer["seconds"],
            least=ROWS_PER_S,
        ),
        Line(what="", unit="s", ours=ours["seconds"], peer="DuckDB reads the JSON", theirs=bare["read_s"]),
        Line(
            what="", unit="s", ours=ours["seconds"], peer="the same and a bare Iceberg append", theirs=bare["seconds"]
        ),
        Line(what="", unit="MB peak", ours=ours["peak_mb"], peer=GE, theirs=peer["peak_mb"], most=PEAK_MB),
        Line(
            what=f"The same of {2 * rows:,}",
            unit="MB peak",
            ours=found["ours, twice the rows"]["peak_mb"],
            peer="ours, half the rows",
            theirs=ours["peak_mb"],
            most=PEAK_MB,
        ),
    ]


def _log(rows: int) -> Path:
    from benchmarks.interactions import VERSION

    return prepared(f"interactions-v{VERSION}-{rows}.jsonl", "benchmarks.interactions:write", rows=rows)


def ours(log: str, sample: str, scratch: str) -> Figures:
    """Ingest the log into a fresh lake like a file of any source: landed, checked, committed, recorded."""
    _ingest(Path(sample), Path(scratch, "warm-up"))
    began = time.perf_counter()
    done = _ingest(Path(log), Path(scratch, "measured"))
    return {
        "seconds": time.perf_counter() - began,
        "committed": done.committed,
        "quarantined": done.quarantined,
        "duplicates": done.duplicates,
    }


def _ingest(log: Path, home: Path) -> "Ingested":
    from lake.contracts.agent_interactions import AGENT_INTERACTIONS
    from lake.ingest.pipeline import Ingester
    from lake.lake import open_lake
    from settings import read_settings

    return Ingester(open_lake(read_settings(home=home), clock=_landing), AGENT_INTERACTIONS, "agents").ingest_file(log)


def _landing() -> datetime:
    from benchmarks.interactions import LANDED

    return LANDED


def bare(log: str, sample: str, scratch: str) -> Figures:
    """DuckDB reads the JSON into memory and pyiceberg appends it, unchecked: a lower limit of the time."""
    import duckdb

    from benchmarks.tables import fresh_table
    from lake.contracts.agent_interactions import AGENT_INTERACTIONS

    table = fresh_table(Path(scratch))
    _read(duckdb.connect(), sample)
    began = time.perf_counter()
    connection = duckdb.connect()
    _read(connection, log)
    read_s = time.perf_counter() - began
    rows = connection.sql("FROM log").to_arrow_table().select(AGENT_INTERACTIONS.arrow_schema.names)
    table.append(rows.cast(AGENT_INTERACTIONS.arrow_schema))
    return {"seconds": time.perf_counter() - began, "read_s": read_s, "cores": float(os.cpu_count() or 1)}


def _read(connection: "object", log: str) -> None:
    from lake.contracts.agent_interactions import AGENT_INTERACTIONS

    types = {"string": "VARCHAR", "int64": "BIGINT", "bool": "BOOLEAN", "timestamp[us, tz=UTC]": "TIMESTAMPTZ"}
    columns = ", ".join(f"{field.name}: '{types[str(field.type)]}'" for field in AGENT_INTERACTIONS.arrow_schema)
    connection.execute("SET TimeZone = 'UTC'")  # type: ignore[attr-defined]
    source = f"read_json('{log}', format = 'newline_delimited', columns = {{{columns}}})"
    connection.execute(f"CREATE TEMP TABLE log AS FROM {source}")  # type: ignore[attr-defined]

"""The volume trigger's count of new rows compared with a scan, on a billion rows and 90 days of hourly commits.

The table has three real commits; snapshots with summaries of added rows are then added to its metadata, which is all
that the trigger reads. Its peer counts the rows after the cut of the training by a scan with pyiceberg, which reads the
manifests too; it has only the three real ones to read.
"""

import json
import statistics
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.harness import Figures, Job, Options, in_turns
from benchmarks.table import Line

ROWS, SNAPSHOTS = 1_000_000_000, 2_160
REPEATS = 5
ONE_SECOND = 1.0


def measure(options: Options) -> list[Line]:
    """Measure and compare."""
    snapshots = options.size(SNAPSHOTS, SNAPSHOTS // 20)
    arguments = {"snapshots": snapshots}
    found = in_turns(
        [
            Job(name="ours, summaries", target="benchmarks.volume:ours", arguments=arguments),
            Job(name="pyiceberg, scan and count", target="benchmarks.volume:counted", arguments=arguments),
        ],
        options.runs,
    )
    return [
        Line(
            what=f"New rows since a training, {ROWS:.0e} rows in {snapshots:,} snapshots",
            unit="s",
            ours=found["ours, summaries"]["count_s"],
            peer="pyiceberg, scan and count",
            theirs=found["pyiceberg, scan and count"]["count_s"],
            most=ONE_SECOND,
        )
    ]


def ours(scratch: str, snapshots: int) -> Figures:
    """The count of the trigger; the table is loaded each time, as in each check."""
    from lake.contracts.agent_interactions import AGENT_INTERACTIONS
    from lake.maintenance.expiry import added_rows
    from lake.tables.versions import TableVersion

    tables, pinned = _grown(Path(scratch), snapshots)
    since = TableVersion(table=AGENT_INTERACTIONS.table, snapshot_id=pinned, rows=0)
    assert added_rows(tables, AGENT_INTERACTIONS, since) == (snapshots // 2) * (ROWS // snapshots)
    return {"count_s": _median(lambda: added_rows(tables, AGENT_INTERACTIONS, since))}


def counted(scratch: str, snapshots: int) -> Figures:
    """The rows after a time, by the count of the library."""
    from lake.contracts.agent_interactions import AGENT_INTERACTIONS

    tables, _ = _grown(Path(scratch), snapshots)

    def count() -> None:
        table = tables.load(AGENT_INTERACTIONS.table)
        table.scan(row_filter=f"timestamp >= '{datetime(2026, 10, 1, tzinfo=UTC).isoformat()}'").count()

    return {"count_s": _median(count)}


def _median(work: Any) -> float:
    took = []
    for _ in range(REPEATS):
        begun = time.perf_counter()
        work()
        took.append(time.perf_counter() - begun)
    return statistics.median(took)


def _grown(folder: Path, snapshots: int) -> tuple[Any, int]:
    """A lake whose interactions have this number of snapshots, and the snapshot of a training: the middle one."""
    from benchmarks.interactions import LANDED, write
    from lake.contracts.agent_interactions import AGENT_INTERACTIONS
    from lake.ingest.pipeline import Ingester
    from lake.lake import open_lake
    from settings import read_settings

    logs = folder / "logs"
    logs.mkdir()
    for rows in (1_000, 1_001, 1_002):
        write(str(logs / f"{rows}.jsonl"), rows, "")
    lake = open_lake(read_settings(home=folder / "home", lake="bench", cache=folder / "cache"), clock=lambda: LANDED)
    Ingester(lake, AGENT_INTERACTIONS, "agents").ingest_folder(logs)
    tables = lake.tables
    table = tables.load(AGENT_INTERACTIONS.table)
    path = Path(table.metadata_location.removeprefix("file://"))
    metadata = json.loads(path.read_text())
    grown, current = _history(metadata["snapshots"][-1], snapshots)
    metadata |= {"snapshots": grown, "current-snapshot-id": current, "snapshot-log": []}
    metadata["last-sequence-number"] = grown[-1]["sequence-number"]
    metadata["refs"] = {"main": {"snapshot-id": current, "type": "branch"}}
    path.write_text(json.dumps(metadata))
    return tables, grown[snapshots // 2 - 1]["snapshot-id"]


def _history(last: dict[str, Any], count: int) -> tuple[list[dict[str, Any]], int]:
    """``count`` snapshots, each an append of an equal part of the rows."""
    grown: list[dict[str, Any]] = []
    each = ROWS // count
    for number in range(1, count + 1):
        summary = {**last["summary"], "added-records": str(each), "total-records": str(each * number)}
        snapshot = {**last, "snapshot-id": number, "sequence-number": number, "summary": summary}
        snapshot.pop("parent-snapshot-id", None)
        grown.append(snapshot | ({"parent-snapshot-id": number - 1} if number > 1 else {}))
    return grown, count

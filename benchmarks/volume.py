"""The volume trigger's count of new rows, on a table of a billion rows and 90 days of hourly commits, beside a scan's.

The table is real but for its length: three commits, whose metadata is then grown by snapshots that say they brought
rows. The trigger reads nothing else. Its peer counts the rows after the training's cut by a scan with pyiceberg, which
reads the manifests too; on the three real ones it has an easy time.
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
    asked = {"snapshots": snapshots}
    found = in_turns(
        [
            Job(name="ours, summaries", target="benchmarks.volume:ours", arguments=asked),
            Job(name="pyiceberg, scan and count", target="benchmarks.volume:counted", arguments=asked),
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
    """The trigger's way, the table loaded anew each time as each look does."""
    from lake.contracts.agent_interactions import AGENT_INTERACTIONS
    from lake.maintenance.expiry import added_rows
    from lake.tables.versions import TableVersion

    tables, pinned = _grown(Path(scratch), snapshots)
    since = TableVersion(table=AGENT_INTERACTIONS.table, snapshot_id=pinned, rows=0)
    assert added_rows(tables, AGENT_INTERACTIONS, since) == (snapshots // 2) * (ROWS // snapshots)
    return {"count_s": _median(lambda: added_rows(tables, AGENT_INTERACTIONS, since))}


def counted(scratch: str, snapshots: int) -> Figures:
    """Rows after an instant, by the library's own count."""
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
    """A lake whose interactions have so many snapshots, and the one that a model was trained on, half way."""
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
    told = json.loads(path.read_text())
    grown, current = _history(told["snapshots"][-1], snapshots)
    told |= {"snapshots": grown, "current-snapshot-id": current, "snapshot-log": []}
    told["last-sequence-number"] = grown[-1]["sequence-number"]
    told["refs"] = {"main": {"snapshot-id": current, "type": "branch"}}
    path.write_text(json.dumps(told))
    return tables, grown[snapshots // 2 - 1]["snapshot-id"]


def _history(last: dict[str, Any], count: int) -> tuple[list[dict[str, Any]], int]:
    """So many snapshots in a row, each an append of its share of the rows."""
    grown: list[dict[str, Any]] = []
    each = ROWS // count
    for number in range(1, count + 1):
        summary = {**last["summary"], "added-records": str(each), "total-records": str(each * number)}
        one = {**last, "snapshot-id": number, "sequence-number": number, "summary": summary}
        one.pop("parent-snapshot-id", None)
        grown.append(one | ({"parent-snapshot-id": number - 1} if number > 1 else {}))
    return grown, count

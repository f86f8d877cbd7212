"""Decks of the stages that add rows: ingestion of files, collection from servers, the broker's events."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from lake.quality.score import ROWS
from lake.sources.ingestion import Ingestion
from lake.sources.selection import Pulled
from reports.charts.common import bars, flow
from reports.common.html import facts, note, table
from reports.common.palette import RED


def ingestion_deck(ingested: Ingestion, rows_in_table: int) -> list[str]:
    """The result for the lines of the new files; ``ingested`` has a count for each name of ``ROWS``."""
    if not ingested.new_objects:
        return [note("Nothing new landed.")]
    counts = {name: getattr(ingested, name) for name in ROWS}
    return [
        facts({"new files": ingested.new_objects, **counts, "table now": rows_in_table}),
        flow(counts),
        *_reasons(Counter(ingested.reasons), "lines"),
    ]


def collection_deck(pulled: Sequence[Pulled]) -> list[str]:
    """Rows by source, the faults that retries resolved, and how far each source has been read."""
    new = [pull for pull in pulled if pull.new]
    counts = _sums(new, *ROWS)
    sources = {name: [pull for pull in pulled if pull.source == name] for name in sorted({p.source for p in pulled})}
    rows = [_source(name, windows) for name, windows in sources.items()]
    return [
        facts({"windows": len(pulled), "of them new": len(new), **counts}),
        flow(counts),
        bars({str(row["source"]): row["rows"] for row in rows}, "Rows by source", "rows"),
        table(rows),
        *_reasons(sum((Counter(pull.reasons) for pull in new), Counter()), "rows"),
    ]


def _source(name: str, windows: Sequence[Pulled]) -> dict[str, Any]:
    """The sums of a server; the work of an earlier run counts as a window and nothing else."""
    new = [window for window in windows if window.new]
    faults = sum((Counter(window.faults) for window in new), Counter[str]())
    skew_s = max((window.skew_s for window in new), key=abs, default=0.0)
    return {
        "source": name,
        "windows": len(windows),
        **_sums(new, "requests"),
        "rows": sum(window.committed for window in new),
        **_sums(new, "quarantined", "duplicates"),
        "watermark": max(window.watermark for window in windows) or "-",
        "clock ahead, s": round(skew_s),
        "faults": ", ".join(f"{kind} x{count}" for kind, count in sorted(faults.items())) or "none",
    }


def _sums(windows: Sequence[Pulled], *names: str) -> dict[str, int]:
    return {name: sum(getattr(window, name) for window in windows) for name in names}


def _reasons(reasons: Counter[str], unit: str) -> list[str]:
    """A bar for each reason, the most frequent first; nothing without reasons."""
    return [bars(dict(reasons.most_common()), "Quarantined by reason", unit, RED)] if reasons else []

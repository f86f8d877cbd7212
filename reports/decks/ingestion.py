"""Decks of the stages that add rows: ingestion of files, collection from servers, the broker's events."""

from collections import Counter
from collections.abc import Sequence

from lake.quality.score import ROWS
from lake.sources.ingestion import Ingestion
from lake.sources.selection import Pulled, SourceSum, by_source
from reports.charts.common import bars, flow
from reports.common.html import facts, fields, note, table
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
    sources = by_source(pulled)
    counts = {name: sum(getattr(source, name) for source in sources) for name in ROWS}
    return [
        facts({"windows": len(pulled), "of them new": sum(pull.new for pull in pulled), **counts}),
        flow(counts),
        bars({source.source: source.committed for source in sources}, "Rows by source", "rows"),
        table([_source(source) for source in sources]),
        *_reasons(sum((Counter(source.reasons) for source in sources), Counter()), "rows"),
    ]


def _source(source: SourceSum) -> dict[str, object]:
    return {
        **fields(source, "source", "windows", "requests"),
        "rows": source.committed,
        **fields(source, "quarantined", "duplicates"),
        "watermark": source.watermark or "-",
        "clock ahead, s": round(source.skew_s),
        "faults": ", ".join(f"{kind} x{count}" for kind, count in sorted(source.faults.items())) or "none",
    }


def _reasons(reasons: Counter[str], unit: str) -> list[str]:
    """A bar for each reason, the most frequent first; nothing without reasons."""
    return [bars(dict(reasons.most_common()), "Quarantined by reason", unit, RED)] if reasons else []

"""Ingestion: a folder of logs becomes rows of a data set, ``processed.agent_interactions`` first of all."""

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from errors import DataError
from lake.versions import TableVersion
from tasks.environments import cpu
from tasks.runtime import lake, publish


@dataclass(frozen=True, kw_only=True, slots=True)
class Ingestion:
    """What one ingestion brought, and the version of the table after it."""

    table: TableVersion
    newest: datetime
    """Just after the newest row (UTC)."""
    objects: int
    new_objects: int
    landed: int
    committed: int
    quarantined: int
    duplicates: int
    reasons: dict[str, int] = field(default_factory=dict)


@cpu
def ingest_logs(folder: str, source: str, data_set: str) -> Ingestion:
    """Land, check and commit every log file of a folder; files that are in already cost a look at the ledger."""
    from collections import Counter
    from datetime import timedelta

    from lake.contracts import contract
    from lake.ingest import ingest_folder

    here = lake()
    form = contract(data_set)
    done = [one for one in ingest_folder(here, form, source, Path(folder)) if one.new]
    table = here.tables.current(form)
    watermark = here.tables.watermark(form, source)
    if table is None or watermark is None:
        raise DataError(f"{folder}: no row passed the checks; see quarantine.{data_set.split('.')[1]} for the reasons")
    result = Ingestion(
        table=table,
        newest=watermark + timedelta(microseconds=1),
        objects=len(here.ledger.entries(f"sources/{source}", kind="ingested")),
        new_objects=len(done),
        landed=sum(one.landed for one in done),
        committed=sum(one.committed for one in done),
        quarantined=sum(one.quarantined for one in done),
        duplicates=sum(one.duplicates for one in done),
        reasons=dict(sum((Counter(one.reasons) for one in done), Counter())),
    )
    _show(result)
    return result


def _show(result: Ingestion) -> None:
    from lake.charts import RED, bars, facts, flow, note

    if not result.new_objects:
        publish(10, "Ingestion", note("Nothing new landed."))
        return
    counts = {name: getattr(result, name) for name in ("landed", "committed", "quarantined", "duplicates")}
    parts = [facts({"new files": result.new_objects, **counts, "table now": result.table.rows}), flow(counts)]
    if result.reasons:
        ranked = sorted(result.reasons.items(), key=lambda item: -item[1])
        parts.append(
            bars([name for name, _ in ranked], [rows for _, rows in ranked], "Quarantined by reason", "rows", RED)
        )
    publish(10, "Ingestion", *parts)

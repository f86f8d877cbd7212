"""Ingestion: a folder of logs becomes rows of a data set, ``processed.agent_interactions`` first of all."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from errors import DataError
from lake.lake import Lake
from lake.versions import TableVersion
from tasks.environments import cpu
from tasks.runtime import due, lake, publish


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
    result = _ingest(lake(), Path(folder), source, data_set)
    _show(result)
    return result


@cpu
def ingest_due(source: str, data_set: str, kickoff: datetime, every_minutes: int, schedule: str) -> list[Ingestion]:
    """Ingest what gateways left in the inbox and the source's folder in ``FUELLINE_LOGS``, once a window.

    Empty where an earlier run has done it, and where nothing has come yet.
    """
    from lake.charts import note

    here = lake()
    folder = _folder(here, source)
    windows = due(
        here, schedule, lambda _: _collect(here, folder, source, data_set), kickoff=kickoff, every_minutes=every_minutes
    )
    done = [result for result in windows if result]
    for result in done:
        _show(result)
    if not done:
        why = "Nothing has come yet." if windows else "An earlier run has done the work of this one, or is at it."
        publish(10, "Ingestion", note(why))
    return done


def _collect(here: Lake, folder: Path | None, source: str, data_set: str) -> Ingestion | None:
    """Ingest what is there; None where gateways are all that feeds the source, and none has left anything yet."""
    from lake.inbox import is_fed

    return _ingest(here, folder, source, data_set) if folder or is_fed(here, source) else None


def _folder(here: Lake, source: str) -> Path | None:
    """Where the source's logs are; None where gateways are all that feeds it."""
    from lake.inbox import is_fed

    fed = bool(here.settings.vllm_replicas) or is_fed(here, source)
    if not here.settings.logs and fed:
        return None
    folder = here.settings.logs_of(source)
    return folder if folder.exists() or not fed else None


def _ingest(here: Lake, folder: Path | None, source: str, data_set: str) -> Ingestion:
    from collections import Counter

    from lake.contracts import contract
    from lake.inbox import collect_all
    from lake.ingest import ingest_folder

    form = contract(data_set)
    served = collect_all(here, form, source)
    logged = ingest_folder(here, form, source, folder) if folder else []
    done = [one for one in [*served, *logged] if one.new]
    table = here.tables.current(form)
    watermark = here.tables.watermark(form, source)
    if table is None or watermark is None:
        raise DataError(
            f"{folder or source}: no row passed the checks; see quarantine.{data_set.split('.')[1]} for the reasons"
        )
    return Ingestion(
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

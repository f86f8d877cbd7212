"""Ingestion: a folder of logs becomes rows of a data set, ``processed.agent_interactions`` first of all."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from errors import DataError
from lake.lake import Lake
from lake.tables.versions import TableVersion
from tasks.environments import cpu
from tasks.runtime import due, lake, publish, publish_nothing_due


@dataclass(frozen=True, kw_only=True, slots=True)
class Ingestion:
    """What one ingestion brought, and the version of the table after it."""

    table: TableVersion
    newest: datetime
    """Just after the newest row that the source brought, or of the table where it brought none that was new (UTC)."""
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
    from reports.common.html import note

    here = lake()
    folder = _folder(here, source)
    windows = due(
        here, schedule, lambda _: _collect(here, folder, source, data_set), kickoff=kickoff, every_minutes=every_minutes
    )
    done = [result for result in windows if result]
    for result in done:
        _show(result)
    if not windows:
        publish_nothing_due(10, "Ingestion")
    elif not done:
        publish(10, "Ingestion", note("No data has arrived yet."))
    return done


def _collect(here: Lake, folder: Path | None, source: str, data_set: str) -> Ingestion | None:
    """Ingest what is there; None where gateways are all that feeds the source, and none has left anything yet."""
    from lake.sources.inbox import is_fed

    return _ingest(here, folder, source, data_set) if folder or is_fed(here, source) else None


def _folder(here: Lake, source: str) -> Path | None:
    """Where the source's logs are; None where gateways are all that feeds it."""
    from lake.sources.inbox import is_fed

    fed = bool(here.settings.vllm_replicas) or is_fed(here, source)
    if not here.settings.logs and fed:
        return None
    folder = here.settings.logs_of(source)
    return folder if folder.exists() or not fed else None


def _ingest(here: Lake, folder: Path | None, source: str, data_set: str) -> Ingestion:
    from collections import Counter

    from lake.contracts import contract
    from lake.ingest.pipeline import Ingester
    from lake.sources.inbox import merged_files

    form = contract(data_set)
    ingester = Ingester(here, form, source)
    served = ingester.ingest_files(merged_files(here, source))
    logged = ingester.ingest_folder(folder) if folder else []
    done = [one for one in [*served, *logged] if one.new]
    table = here.tables.current(form)
    ingested = here.ledger.entries(f"sources/{source}", kind="ingested")
    # A source that brought nothing but known rows has no watermark, and the rows are there all the same.
    last = here.tables.watermark(form, source) or here.tables.newest_time(form)
    if table is None or last is None:
        rejected = sum(entry.payload["quarantined"] for entry in ingested)
        raise DataError(f"{folder or source}: {_why_empty(data_set, rejected)}")
    return Ingestion(
        table=table,
        newest=last + timedelta(microseconds=1),
        objects=len(ingested),
        new_objects=len(done),
        landed=sum(one.landed for one in done),
        committed=sum(one.committed for one in done),
        quarantined=sum(one.quarantined for one in done),
        duplicates=sum(one.duplicates for one in done),
        reasons=dict(sum((Counter(one.reasons) for one in done), Counter())),
    )


def _why_empty(data_set: str, rejected: int) -> str:
    if not rejected:
        return f"no row has come yet, so {data_set} is empty"
    where = f"quarantine.{data_set.split('.')[1]}"
    return f"no row passed the checks, and {rejected:,} were rejected; see {where} for the reasons"


def _show(result: Ingestion) -> None:
    from reports.decks.ingestion import ingestion_deck

    publish(10, "Ingestion", *ingestion_deck(result, result.table.rows))

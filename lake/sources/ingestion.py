"""Ingest the new data of one source: the objects in the gateways' inbox, and the log files of a folder."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from errors import DataError, NothingArrived
from lake.contracts import contract as named_contract
from lake.ingest.pipeline import Ingester
from lake.lake import Lake
from lake.sources.first_delivery import PATIENCE, overdue
from lake.sources.inbox import is_fed, merged_files
from lake.tables.versions import TableVersion
from lake.windows import Window


@dataclass(frozen=True, kw_only=True, slots=True)
class Ingestion:
    """The result of one ingestion, and the version of the table after it."""

    table: TableVersion
    newest: datetime
    """Just after the source's newest row, or the table's if the source has added none (UTC)."""
    objects: int
    new_objects: int
    landed: int
    committed: int
    quarantined: int
    duplicates: int
    reasons: dict[str, int] = field(default_factory=dict)


def ingest_source(lake: Lake, source: str, data_set: str, folder: Path | None) -> Ingestion:
    """Ingest the inbox, and every log file of ``folder`` if there is one. Raises ``DataError`` where the table is empty
    afterwards.
    """
    contract = named_contract(data_set)
    ingester = Ingester(lake, contract, source)
    from_gateways = ingester.ingest_files(merged_files(lake, source))
    from_logs = ingester.ingest_folder(folder) if folder else []
    new = [file for file in (*from_gateways, *from_logs) if file.new]
    table = lake.tables.current(contract)
    entries = lake.ledger.entries(f"sources/{source}", kind="ingested")
    # A source whose rows were all known has no watermark, but the table has rows.
    newest = lake.tables.watermark(contract, source) or lake.tables.newest_time(contract)
    if table is None or newest is None:
        if rejected := sum(entry.payload["quarantined"] for entry in entries):
            problem = f"no row passed the checks, and {rejected:,} were rejected; see {contract.quarantine.table}"
            raise DataError(f"{folder or source}: {problem} for the reasons")
        raise NothingArrived(f"{folder or source}: no row has arrived yet, so {data_set} is empty")
    counts = ("landed", "committed", "quarantined", "duplicates")
    return Ingestion(
        table=table,
        newest=newest + timedelta(microseconds=1),
        objects=len(entries),
        new_objects=len(new),
        **{name: sum(getattr(file, name) for file in new) for name in counts},
        reasons=dict(sum((Counter(file.reasons) for file in new), Counter())),
    )


def ingest_arrived(lake: Lake, source: str, data_set: str, due: Window) -> Ingestion | None:
    """Ingest what has arrived in the inbox and in the folder ``$FUELLINE_LOGS/<source>``; None if nothing has yet.

    Raises:
        DataError: no row passed the checks.
        NothingArrived: nothing has arrived for a day (raised for one window), or nothing any more.
        SettingsError: no gateway feeds the source, and FUELLINE_LOGS is not set.
    """
    fed = is_fed(lake, source)
    required = not (fed or lake.settings.vllm_replicas)  # otherwise gateways may be all that feeds the source
    folder = lake.settings.logs_of(source) if required or lake.settings.logs else None
    if folder and not required and not folder.exists():
        folder = None
    if not folder and not fed:
        return None
    try:
        return ingest_source(lake, source, data_set, folder)
    except NothingArrived as error:
        if lake.tables.watermark(named_contract(data_set), source):
            raise
        if overdue(lake, source, data_set, due.end):
            raise NothingArrived(f"{error}, for {PATIENCE.days} day; this is reported once") from error
        return None

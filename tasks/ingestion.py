"""Ingestion: log files and gateway records become rows of a data set, usually ``processed.agent_interactions``."""

from datetime import datetime
from pathlib import Path

from lake.sources.ingestion import Ingestion
from tasks.environments import cpu
from tasks.runtime import due, publish, task_lake

INGESTION = (10, "Ingestion")


@cpu
def ingest_logs(folder: str, source: str, data_set: str) -> Ingestion:
    """Land, check and commit every log file of a folder; for files that are known this only reads the ledger."""
    from lake.sources.ingestion import ingest_source

    return _shown(ingest_source(task_lake(), source, data_set, Path(folder)))


@cpu
def ingest_due(source: str, data_set: str, kickoff: datetime, every_minutes: int, schedule: str) -> list[Ingestion]:
    """Ingest the gateways' inbox and the source's folder in ``FUELLINE_LOGS``, once per window.

    Empty if an earlier run has done it, or if nothing has arrived yet.
    """
    from lake.sources.ingestion import ingest_arrived
    from reports.common.html import note

    lake = task_lake()
    when = (lake, schedule, kickoff, every_minutes)
    windows = due(*when, INGESTION, lambda window: ingest_arrived(lake, source, data_set, window))
    ingested = [_shown(ingestion) for ingestion in windows if ingestion]
    if windows and not ingested:
        publish(*INGESTION, note("No data has arrived yet."))
    return ingested


def _shown(ingestion: Ingestion) -> Ingestion:
    from reports.decks.ingestion import ingestion_deck

    publish(*INGESTION, *ingestion_deck(ingestion, ingestion.table.rows))
    return ingestion

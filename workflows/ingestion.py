"""Ingestion: rows that satisfy their contract, from log files."""

from datetime import datetime

from flytekit import workflow

from lake.sources.ingestion import Ingestion
from tasks.ingestion import ingest_due, ingest_logs


@workflow
def ingestion(folder: str, source: str = "agents", data_set: str = "processed.agent_interactions") -> Ingestion:
    """Ingest a folder of logs: JSON lines, CSV or Parquet, plain or gzip.

    Args:
        folder: where the logs are.
        source: names the ledger chain and the folder in the raw zone.
        data_set: whose contract the lines must satisfy; ``processed.agent_feedback`` is for feedback that arrives
        later.
    """
    return ingest_logs(folder=folder, source=source, data_set=data_set)


@workflow
def scheduled_ingestion(
    kickoff: datetime,
    every_minutes: int = 60,
    schedule: str = "ingest_hourly",
    source: str = "agents",
    data_set: str = "processed.agent_interactions",
) -> list[Ingestion]:
    """Ingest the new data of a source: from the gateways' inbox, and from its folder of logs,
    `$FUELLINE_LOGS/<source>`.

    Args:
        kickoff: the scheduled time.
        every_minutes: the time between two runs.
        schedule: the launch plan's name.
        source: names the folder, the ledger chain and the folder in the raw zone.
        data_set: whose contract the lines must satisfy.
    """
    return ingest_due(source=source, data_set=data_set, kickoff=kickoff, every_minutes=every_minutes, schedule=schedule)

"""From files to rows that keep their contract."""

from datetime import datetime

from flytekit import workflow

from tasks.ingestion import Ingestion, ingest_due, ingest_logs


@workflow
def ingestion(folder: str, source: str = "agents", data_set: str = "processed.agent_interactions") -> Ingestion:
    """Ingest a folder of logs: JSON lines, CSV or Parquet, plain or gzip.

    Args:
        folder: where the logs are.
        source: names the ledger chain and the raw zone's folder.
        data_set: whose contract the lines keep; ``processed.agent_feedback`` takes thumbs that came later.
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
    """Ingest what is new of a source: in the gateways' inbox, and in its folder of logs, `$FUELLINE_LOGS/<source>`.

    Args:
        kickoff: the scheduled time.
        every_minutes: the time between two fires.
        schedule: the launch plan's name.
        source: names the folder, the ledger chain and the raw zone's folder.
        data_set: whose contract the lines keep.
    """
    return ingest_due(source=source, data_set=data_set, kickoff=kickoff, every_minutes=every_minutes, schedule=schedule)

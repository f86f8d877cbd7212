"""From files to rows that keep their contract."""

from flytekit import workflow

from tasks.ingestion import Ingestion, ingest_agent_logs


@workflow
def ingestion(folder: str, source: str = "agents") -> Ingestion:
    """Ingest a folder of agent logs: JSON lines, CSV or Parquet, plain or gzip.

    Args:
        folder: where the logs are.
        source: names the ledger chain and the raw zone's folder.
    """
    return ingest_agent_logs(folder=folder, source=source)

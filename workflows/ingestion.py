"""From files to rows that keep their contract."""

from flytekit import workflow

from tasks.ingestion import Ingestion, ingest_logs


@workflow
def ingestion(folder: str, source: str = "agents", data_set: str = "processed.agent_interactions") -> Ingestion:
    """Ingest a folder of logs: JSON lines, CSV or Parquet, plain or gzip.

    Args:
        folder: where the logs are.
        source: names the ledger chain and the raw zone's folder.
        data_set: whose contract the lines keep; ``processed.agent_feedback`` takes thumbs that came later.
    """
    return ingest_logs(folder=folder, source=source, data_set=data_set)

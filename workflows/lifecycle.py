"""The whole line on one machine: logs go in, a judged model comes out."""

from flytekit import workflow

from models.types import Verdict
from tasks.reporting import write_run_report
from tasks.training import named_profile
from workflows.features import features
from workflows.ingestion import ingestion
from workflows.retraining import retraining


@workflow
def lifecycle(folder: str, profile: str = "laptop", source: str = "agents", reason: str = "by hand") -> Verdict:
    """Ingest logs, compute features, retrain, and write the report.

    Args:
        folder: where the agents' logs are.
        profile: ``smoke``, ``laptop`` or ``forge``.
        source: names the ledger chain and the raw zone's folder.
        reason: what caused the retraining.
    """
    landed = ingestion(folder=folder, source=source)
    available = features(interactions=landed.table, upto=landed.newest)
    verdict = retraining(profile=named_profile(name=profile), source=source, reason=reason)
    available >> verdict
    write_run_report(verdict=verdict)
    return verdict

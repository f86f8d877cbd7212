"""The whole loop on one machine: from logs to an evaluated model."""

from flytekit import workflow

from models.types import Verdict
from tasks.reports import write_run_report
from tasks.rollout import last_word
from tasks.training import by_hand, named_profile
from workflows.features import features
from workflows.ingestion import ingestion
from workflows.retraining import retraining
from workflows.rollout import rollout_step


@workflow
def lifecycle(
    folder: str, profile: str = "laptop", source: str = "agents", reason: str = "no reason given", by: str = ""
) -> Verdict:
    """Ingest logs, compute features, retrain, advance the rollout by one step, and write the report.

    Args:
        folder: where the agents' logs are.
        profile: ``smoke``, ``laptop`` or ``forge``.
        source: names the ledger chain and the folder in the raw zone.
        reason: what caused the retraining.
        by: who started it.
    """
    landed = ingestion(folder=folder, source=source)
    available = features(interactions=landed.table, upto=landed.newest)
    verdict = retraining(profile=named_profile(name=profile), cause=by_hand(reason=reason, by=by))
    available >> verdict
    stepped = rollout_step()
    verdict >> stepped
    ended = last_word(verdict=verdict, stepped=stepped)
    write_run_report(verdict=ended)
    return ended

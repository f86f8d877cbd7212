"""The registry: a candidate that was shown better becomes a version; any other is declined, with the reason."""

from models.registry.training_lease import Claim
from models.retraining.pin import Pinned
from models.spec import ModelSpec, TrainingProfile
from models.types import Cause, Evaluation, ModelVersion, Verdict
from tasks.environments import cpu
from tasks.runtime import lake, publish, show_lineage


@cpu
def register_version(
    pinned: Pinned, evaluations: list[Evaluation], spec: ModelSpec, profile: TrainingProfile, claim: Claim
) -> ModelVersion:
    """Give the candidate a number, write its folder, tag its snapshots; let Feast and MLflow know it."""
    from features.online.feast_repo import open_feature_store, register_model_version
    from models.registry.registry import register
    from models.registry.training_lease import fenced
    from models.retraining.mlflow import mirror_version
    from reports.decks.training import registration_deck

    here, evaluation = fenced(lake(), claim), evaluations[0]
    version = register(here, evaluation, spec, profile, pinned.cause)
    register_model_version(open_feature_store(here.settings), version.name, spec.features)
    mirrored = mirror_version(here.settings, version, evaluation.adapter.training_key)
    seen = "mirrored" if mirrored.holds else f"behind: {mirrored.reason}"
    publish(70, "Registration", *registration_deck(version, seen))
    return version


@cpu
def mirror_training(evaluations: list[Evaluation], spec: ModelSpec, profile: TrainingProfile) -> bool:
    """Let MLflow see parameters, loss curve and scores; the ledger does not wait for it."""
    from models.retraining.mlflow import mirror_evaluation
    from models.training.train import read_manifest

    here, evaluation = lake(), evaluations[0]
    losses = read_manifest(here.store, evaluation.adapter.path)["losses"]
    return mirror_evaluation(here.settings, evaluation, spec, profile, losses).holds


@cpu
def decline_candidate(pinned: Pinned, evaluations: list[Evaluation], claim: Claim) -> Verdict:
    """Write down that the candidate was not registered, and why."""
    from models.registry.registry import decline
    from models.registry.training_lease import fenced
    from models.retraining.outcome import close, keep_counted_snapshot
    from reports.lineage.graph import candidate_lineage
    from reports.lineage.render import as_svg

    here, evaluation = fenced(lake(), claim), evaluations[0]
    verdict = decline(here, evaluation)
    show_lineage(as_svg(candidate_lineage(here, pinned.model, evaluation.adapter.training_key)))
    keep_counted_snapshot(here, pinned)
    return close(here, pinned, verdict, claim)


@cpu
def report_no_work(pinned: Pinned, cause: Cause, claim: Claim) -> Verdict:
    """Say that another run is training the model, or how the retraining of these very inputs ended the last time."""
    from models.retraining.outcome import no_work

    return no_work(lake(), pinned, cause, claim)

"""The registry: a candidate that is shown better becomes a version; any other is declined, with the reason."""

from models.registry.training_lease import Claim
from models.retraining.pin import Pinned
from models.spec import ModelSpec, TrainingProfile
from models.types import Cause, Evaluation, ModelVersion, Verdict
from tasks.environments import cpu
from tasks.runtime import publish, show_lineage, task_lake


@cpu
def register_version(
    pinned: Pinned, evaluations: list[Evaluation], spec: ModelSpec, profile: TrainingProfile, claim: Claim
) -> ModelVersion:
    """Number the candidate, write its folder, tag its snapshots, and register it with Feast and MLflow."""
    from features.online.feast_repo import open_feature_store, register_model_version
    from models.registry.registry import register
    from models.registry.training_lease import fenced
    from models.retraining.mlflow import mirror_version
    from reports.decks.training import registration_deck

    lake, evaluation = fenced(task_lake(), claim), evaluations[0]
    version = register(lake, evaluation, spec, profile, pinned.cause)
    register_model_version(open_feature_store(lake.settings), version.name, spec.features)
    mirrored = mirror_version(lake.settings, version, evaluation.adapter.training_key)
    state = "mirrored" if mirrored.holds else f"behind: {mirrored.reason}"
    publish(70, "Registration", *registration_deck(version, state))
    return version


@cpu
def mirror_training(evaluations: list[Evaluation], spec: ModelSpec, profile: TrainingProfile) -> bool:
    """Mirror parameters, loss curve and scores to MLflow; the ledger does not depend on it."""
    from models.retraining.mlflow import mirror_evaluation
    from models.training.train import read_manifest

    lake, evaluation = task_lake(), evaluations[0]
    losses = read_manifest(lake.store, evaluation.adapter.path)["losses"]
    return mirror_evaluation(lake.settings, evaluation, spec, profile, losses).holds


@cpu
def close_without_rollout(pinned: Pinned, evaluations: list[Evaluation], cause: Cause, claim: Claim) -> Verdict:
    """Record that the candidate was not registered, and why. Without an evaluation there was no work: report that
    another run is training the model, or how the retraining of the same inputs ended before.
    """
    from models.registry.registry import decline
    from models.registry.training_lease import fenced
    from models.retraining.outcome import close, keep_counted_snapshot, no_work
    from reports.lineage.build import candidate_lineage
    from reports.lineage.render import as_svg

    if not evaluations:
        return no_work(task_lake(), pinned, cause, claim)
    lake, evaluation = fenced(task_lake(), claim), evaluations[0]
    verdict = decline(lake, evaluation)
    show_lineage(as_svg(candidate_lineage(lake, evaluation.model, evaluation.adapter.training_key)))
    keep_counted_snapshot(lake, pinned)
    return close(lake, pinned, verdict, claim)

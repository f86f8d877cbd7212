"""The mirror in MLflow: parameters, metrics, loss curve, and each version with its alias, for whoever looks there.

It mirrors the ledger and never rules it. A tracking server that is away costs a warning and some seconds, never a
training: every function here says in its return value whether the mirror holds, and nothing reads state back from it.
A repeated call finds what the first one wrote, by the training key or the version's name in the tags.
"""

import logging
import math
import os
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from models.spec import ModelSpec, TrainingProfile
from models.types import Evaluation, ModelVersion, ScoreDifference
from settings import Settings

log = logging.getLogger("fuelline.tracking")

KEY_TAG, BASELINE_TAG, VERSION_TAG = "fuelline.training_key", "fuelline.baseline", "fuelline.version"


@dataclass(frozen=True, kw_only=True, slots=True)
class Mirrored:
    """Whether MLflow shows it now."""

    holds: bool
    reason: str = ""
    """Why not, where it does not."""
    run_id: str = ""


def mirror_evaluation(
    settings: Settings, evaluation: Evaluation, spec: ModelSpec, profile: TrainingProfile, losses: Sequence[float]
) -> Mirrored:
    """One run a training and baseline, in the experiment of the model's name.

    Args:
        settings: gives the tracking address.
        evaluation: with the adapter it judged.
        spec: the model's.
        profile: the training's.
        losses: training loss of each step, nats a response token.
    """
    return _mirrored(settings, lambda client: _log_run(client, settings, evaluation, spec, profile, losses))


def mirror_version(settings: Settings, version: ModelVersion, training_key: str) -> Mirrored:
    """The registered version, with the alias ``candidate`` and tags that name its files and its digest."""
    return _mirrored(settings, lambda client: _log_version(client, version, training_key))


def mirror_production(settings: Settings, model: str, version: ModelVersion | None) -> Mirrored:
    """Move the alias ``production``; None takes it away: the base model answers."""
    return _mirrored(settings, lambda client: _move_alias(client, model, version))


def _mirrored(settings: Settings, write: Callable[[Any], str]) -> Mirrored:
    """Run one write. Whatever MLflow, its server or its database raise, the mirror is behind and nothing else is."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return Mirrored(holds=True, run_id=write(_client(settings)))
    except Exception as error:  # the peers' errors have no common root: SQLAlchemy, requests, MLflow, alembic
        told = re.sub(r"//[^@/\s]*@", "//", str(error))  # an address may carry a password
        reason = f"{type(error).__name__}: {told.partition(chr(10))[0][:200]}"
        log.warning("the MLflow mirror is behind (FUELLINE_TRACKING); the ledger is not touched by it. %s", reason)
        return Mirrored(holds=False, reason=reason)


def _client(settings: Settings) -> Any:
    """A client that gives up within seconds, says nothing and reports to nobody."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    from mlflow import MlflowClient

    for chatty in ("mlflow", "alembic"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    if not settings.tracking:
        settings.folder.mkdir(parents=True, exist_ok=True)
    return MlflowClient(tracking_uri=settings.tracking_address, registry_uri=settings.tracking_address)


def _log_run(
    client: Any,
    settings: Settings,
    evaluation: Evaluation,
    spec: ModelSpec,
    profile: TrainingProfile,
    losses: Sequence[float],
) -> str:
    from mlflow.entities import Metric, Param

    adapter = evaluation.adapter
    experiment = _experiment(client, settings, evaluation.model)
    known = _run(client, experiment, adapter.training_key, evaluation.baseline)
    if known and known.info.status == "FINISHED":
        return str(known.info.run_id)
    tags = {KEY_TAG: adapter.training_key, BASELINE_TAG: evaluation.baseline}
    run_id = (known or client.create_run(experiment, run_name=adapter.training_key[:12], tags=tags)).info.run_id
    started = int(adapter.training_set.cut.timestamp() * 1000)
    curve = [Metric("train_loss", loss, started, step) for step, loss in enumerate(losses) if math.isfinite(loss)]
    results = [Metric(name, value, started, 0) for name, value in _results(evaluation).items() if math.isfinite(value)]
    fields = {f"spec.{name}": value for name, value in asdict(spec).items()} | asdict(profile)
    parameters = [Param(name, str(value)) for name, value in fields.items()]
    for start in range(0, len(curve), 900):  # MLflow takes 1,000 metrics a call
        client.log_batch(run_id, metrics=curve[start : start + 900])
    client.log_batch(run_id, metrics=results, params=parameters)
    client.set_terminated(run_id)
    return str(run_id)


def _results(evaluation: Evaluation) -> dict[str, float]:
    slices: list[ScoreDifference] = [evaluation.overall, *evaluation.agents]
    names = ("candidate", "baseline", "difference", "low", "high")
    return {f"eval/{part.slice}/{name}": getattr(part, name) for part in slices for name in names}


def _experiment(client: Any, settings: Settings, model: str) -> str:
    known = client.get_experiment_by_name(model)
    if known:
        return str(known.experiment_id)
    place = None if settings.tracking else (settings.folder / "mlflow-artifacts").as_uri()
    return str(client.create_experiment(model, artifact_location=place))


def _run(client: Any, experiment: str, training_key: str, baseline: str = "") -> Any | None:
    """The newest run of this training, judged against this baseline if one is given."""
    wanted = f"tags.`{KEY_TAG}` = '{training_key}'" + (f" and tags.`{BASELINE_TAG}` = '{baseline}'" if baseline else "")
    runs = client.search_runs([experiment], filter_string=wanted, max_results=1)
    return runs[0] if runs else None


def _log_version(client: Any, version: ModelVersion, training_key: str) -> str:
    number = _number(client, version)
    experiment = client.get_experiment_by_name(version.model)
    run = _run(client, experiment.experiment_id, training_key) if experiment else None
    run_id = str(run.info.run_id) if run else ""
    if not number:
        tags = {VERSION_TAG: version.name, KEY_TAG: training_key, "fuelline.digest": version.digest}
        if not client.search_registered_models(filter_string=f"name = '{version.model}'"):
            client.create_registered_model(version.model)
        made = client.create_model_version(version.model, source=version.path, run_id=run_id or None, tags=tags)
        number = made.version
    client.set_registered_model_alias(version.model, "candidate", number)
    return run_id


def _number(client: Any, version: ModelVersion) -> str:
    """MLflow counts versions by itself, so ours is found by its tag; empty if it is not there."""
    found = client.search_model_versions(f"name = '{version.model}'")
    return next((str(one.version) for one in found if one.tags.get(VERSION_TAG) == version.name), "")


def _move_alias(client: Any, model: str, version: ModelVersion | None) -> str:
    if version is None:
        for known in client.search_registered_models(filter_string=f"name = '{model}'"):
            if "production" in known.aliases:
                client.delete_registered_model_alias(model, "production")
        return ""
    number = _number(client, version)
    if not number:
        raise LookupError(f"MLflow does not know {version.name} yet")
    client.set_registered_model_alias(model, "production", number)
    return ""

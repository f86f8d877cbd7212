"""Mirror the ledger to MLflow: parameters, metrics, loss curve, and each version with its alias.

Nothing reads state back from MLflow. An unavailable tracking server costs a warning and some seconds, never a training:
every function returns whether it wrote. A repeated call finds what the first one wrote, by the training key or the
version's name in the tags.
"""

import functools
import logging
import math
import os
import re
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ParamSpec

from lake.store.database import ENGINE_OPTIONS, sql_address
from models.spec import ModelSpec, TrainingProfile
from models.tuning.plan import Study, Trial, TrialState, Tuned
from models.types import Evaluation, ModelVersion, TrainingSet
from settings import Settings

log = logging.getLogger("fuelline.tracking")
P = ParamSpec("P")

TRIES, PAUSE_S = 5, 1.0
LOST_RACE = "already exists|unique constraint|duplicate key|out-of-date database schema"

KEY_TAG, BASELINE_TAG, VERSION_TAG = "fuelline.training_key", "fuelline.baseline", "fuelline.version"
STUDY_TAG, TRIAL_TAG, STATE_TAG = "fuelline.study", "fuelline.trial", "fuelline.state"
_RUN_STATUS = {TrialState.COMPLETE: "FINISHED", TrialState.PRUNED: "KILLED", TrialState.DIVERGED: "FAILED"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Mirrored:
    """Whether MLflow is up to date."""

    holds: bool
    reason: str = ""
    """Why not."""
    run_id: str = ""


def _mirrors(write: Callable[P, str]) -> Callable[P, Mirrored]:
    """``write``, which returns the run's id, as a function that never raises.

    Errors of MLflow, its server or its database are logged and returned.
    """

    @functools.wraps(write)
    def mirror(*args: P.args, **kwargs: P.kwargs) -> Mirrored:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return Mirrored(holds=True, run_id=_written(lambda: write(*args, **kwargs)))
        except Exception as error:  # no common base class: SQLAlchemy, requests, MLflow, alembic
            message = re.sub(r"//[^@/\s]*@", "//", str(error))  # an address may contain a password
            reason = f"{type(error).__name__}: {message.partition(chr(10))[0][:200]}"
            log.warning("MLflow is not up to date (FUELLINE_TRACKING); the ledger is unaffected. %s", reason)
            return Mirrored(holds=False, reason=reason)

    return mirror


def _written(write: Callable[[], str]) -> str:
    """Two processes may create the same table or model at the same time: on the next try the second one finds it."""
    for _ in range(TRIES - 1):
        try:
            return write()
        except Exception as error:  # as above
            if not re.search(LOST_RACE, str(error), re.IGNORECASE):
                raise
            time.sleep(PAUSE_S)
    return write()


@_mirrors
def mirror_evaluation(
    settings: Settings, evaluation: Evaluation, spec: ModelSpec, profile: TrainingProfile, losses: Sequence[float]
) -> str:
    """Write one run for each training and baseline, in the experiment with the model's name.

    ``losses`` are the training loss of each step, nats per response token.
    """
    from mlflow.entities import Metric, Param

    client, key = _client(settings), evaluation.adapter.training_key
    experiment = _experiment(client, settings, evaluation.model)
    tags = {KEY_TAG: key, BASELINE_TAG: evaluation.baseline}
    known = _find_run(client, experiment, tags)
    if known and known.info.status == "FINISHED":
        return str(known.info.run_id)
    run_id = str((known or client.create_run(experiment, run_name=key[:12], tags=tags)).info.run_id)
    time_ms = _cut_ms(evaluation.adapter.training_set)
    curve = [Metric("train_loss", loss, time_ms, step) for step, loss in enumerate(losses) if math.isfinite(loss)]
    results = [
        Metric(f"eval/{part.slice}/{name}", getattr(part, name), time_ms, 0)
        for part in (evaluation.overall, *evaluation.agents)
        for name in ("candidate", "baseline", "difference", "low", "high")
        if math.isfinite(getattr(part, name))
    ]
    fields = {f"spec.{name}": value for name, value in asdict(spec).items()} | asdict(profile)
    for start in range(0, len(curve), 900):  # MLflow takes up to 1,000 metrics per call
        client.log_batch(run_id, metrics=curve[start : start + 900])
    client.log_batch(run_id, metrics=results, params=[Param(name, str(value)) for name, value in fields.items()])
    client.set_terminated(run_id)
    return run_id


@_mirrors
def mirror_version(settings: Settings, version: ModelVersion, training_key: str) -> str:
    """Write the registered version, with the alias ``candidate`` and tags with its name, training key and digest."""
    client = _client(settings)
    number = _number(client, version)
    experiment = client.get_experiment_by_name(version.model)
    run = _find_run(client, experiment.experiment_id, {KEY_TAG: training_key}) if experiment else None
    run_id = str(run.info.run_id) if run else ""
    if not number:
        tags = {VERSION_TAG: version.name, KEY_TAG: training_key, "fuelline.digest": version.digest}
        if not client.search_registered_models(filter_string=f"name = '{version.model}'"):
            client.create_registered_model(version.model)
        created = client.create_model_version(version.model, source=version.path, run_id=run_id or None, tags=tags)
        number = created.version
    client.set_registered_model_alias(version.model, "candidate", number)
    return run_id


@_mirrors
def mirror_production(settings: Settings, model: str, version: ModelVersion | None) -> str:
    """Move the alias ``production``; None removes it: the base model is in production."""
    client = _client(settings)
    if version is None:
        for known in client.search_registered_models(filter_string=f"name = '{model}'"):
            if "production" in known.aliases:
                client.delete_registered_model_alias(model, "production")
        return ""
    number = _number(client, version)
    if not number:
        raise LookupError(f"MLflow has no {version.name} yet")
    client.set_registered_model_alias(model, "production", number)
    return ""


@_mirrors
def mirror_study(settings: Settings, study: Study) -> str:
    """Write the parent run of a study's trials, before they start in parallel."""
    return _study_run(_client(settings), settings, study)


@_mirrors
def mirror_trial(settings: Settings, study: Study, trial: Trial) -> str:
    """Write the run of an ended trial under its study's run: parameters, validation loss at each rung, state."""
    return _trial_run(_client(settings), settings, study, trial)


@_mirrors
def mirror_tuned(settings: Settings, tuned: Tuned) -> str:
    """Write all trials that MLflow does not have yet, and the result of the search on the study's run."""
    client = _client(settings)
    for trial in tuned.trials:
        _trial_run(client, settings, tuned.study, trial)
    run_id = _study_run(client, settings, tuned.study)
    if client.get_run(run_id).data.metrics.get("trials") != len(tuned.trials):
        results = {"winner": tuned.winner.number, "trials": len(tuned.trials), "start_loss": tuned.start.loss}
        for name, value in (results | {"validation_loss": tuned.winner.loss}).items():
            client.log_metric(run_id, name, value, timestamp=_cut_ms(tuned.study.training_set))
        client.set_terminated(run_id)
    return run_id


def _client(settings: Settings) -> Any:
    """A client that gives up within seconds, without log output and telemetry."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    os.environ.setdefault("MLFLOW_SQLALCHEMYSTORE_POOL_SIZE", str(ENGINE_OPTIONS["pool_size"]))
    from mlflow import MlflowClient

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    if not settings.tracking:
        settings.folder.mkdir(parents=True, exist_ok=True)
    address = sql_address(settings.tracking_address)
    return MlflowClient(tracking_uri=address, registry_uri=address)


def _experiment(client: Any, settings: Settings, model: str) -> str:
    known = client.get_experiment_by_name(model)
    if known:
        return str(known.experiment_id)
    return str(client.create_experiment(model, artifact_location=_artifacts(settings)))


def _artifacts(settings: Settings) -> str | None:
    """Location of an experiment's artifacts, of which there are none; a tracking server has its own."""
    if settings.tracking.startswith("http"):
        return None
    shared = settings.store_address.startswith("s3://")
    return f"{settings.store_address}/mlflow" if shared else (settings.folder / "mlflow-artifacts").as_uri()


def _study_run(client: Any, settings: Settings, study: Study) -> str:
    """The study's own run, created if it does not exist."""
    experiment = _experiment(client, settings, study.training_set.model)
    if known := _find_run(client, experiment, {STUDY_TAG: study.study_id}):
        return str(known.info.run_id)
    created = client.create_run(experiment, run_name=f"tuning {study.name}", tags={STUDY_TAG: study.study_id})
    plan = {name: value for name, value in asdict(study.plan).items() if name != "trials"}
    for name, value in (asdict(study.space) | plan | {"profile": study.profile.name}).items():
        client.log_param(created.info.run_id, name, str(value))
    return str(created.info.run_id)


def _trial_run(client: Any, settings: Settings, study: Study, trial: Trial) -> str:
    from mlflow.entities import Metric, Param

    parent, name = _study_run(client, settings, study), f"{study.study_id}/{trial.number}"
    experiment = _experiment(client, settings, study.training_set.model)
    known = _find_run(client, experiment, {TRIAL_TAG: name})
    if known and known.info.status != "RUNNING":
        return str(known.info.run_id)
    tags = {TRIAL_TAG: name, STATE_TAG: trial.state.value, "mlflow.parentRunId": parent}
    run_id = str((known or client.create_run(experiment, run_name=trial.name, tags=tags)).info.run_id)
    losses = [Metric("validation_loss", rung.loss, _cut_ms(study.training_set), rung.step) for rung in trial.rungs]
    parameters = asdict(trial.parameters.of(study.profile)) | {"length": trial.parameters.length}
    client.log_batch(run_id, metrics=losses, params=[Param(key, str(value)) for key, value in parameters.items()])
    client.set_terminated(run_id, status=_RUN_STATUS[trial.state])
    return run_id


def _cut_ms(training_set: TrainingSet) -> int:
    """The data cut, used as the time of every metric: a run is the same whenever it is written."""
    return int(training_set.cut.timestamp() * 1000)


def _find_run(client: Any, experiment: str, tags: dict[str, str]) -> Any | None:
    """The newest run with these tags."""
    query = " and ".join(f"tags.`{tag}` = '{value}'" for tag, value in tags.items())
    return next(iter(client.search_runs([experiment], filter_string=query, max_results=1)), None)


def _number(client: Any, version: ModelVersion) -> str:
    """MLflow's number of our version, found by its tag, because MLflow numbers by itself; empty if there is none."""
    found = client.search_model_versions(f"name = '{version.model}'")
    return next((str(entry.version) for entry in found if entry.tags.get(VERSION_TAG) == version.name), "")

"""A search over hyperparameters: pin the training set, propose trials, run them in parallel, choose the best."""

from datetime import timedelta
from typing import NamedTuple

from models.spec import ModelSpec, TrainingProfile
from models.tuning.plan import SearchSpace, Study, Trial, TuningPlan
from models.types import Cause, TrainingSet
from tasks.environments import cpu, single_gpu
from tasks.runtime import publish, task_lake


class PinnedExamples(NamedTuple):
    """The training set of a whole search, and the model with its base."""

    training_set: TrainingSet
    spec: ModelSpec


class Best(NamedTuple):
    """The profile to retrain with, and the reason."""

    profile: TrainingProfile
    cause: Cause


@cpu(enable_deck=False)
def pin_examples(spec: ModelSpec) -> PinnedExamples:
    """Build a training set of the data in the lake now; every trial uses it, whatever lands meanwhile."""
    from models.retraining.pin import pin_base, pin_training_set

    lake = task_lake()
    based = pin_base(lake, spec)
    return PinnedExamples(pin_training_set(lake, based), based)


@cpu(enable_deck=False)
def open_study(
    training_set: TrainingSet, spec: ModelSpec, profile: TrainingProfile, space: SearchSpace, plan: TuningPlan
) -> Study:
    """The study of these inputs; one that was begun before continues."""
    from models.retraining.mlflow import mirror_study
    from models.tuning.study import open_study as opened

    lake = task_lake()
    study = opened(lake, training_set, spec, profile, space, plan)
    mirror_study(lake.settings, study)
    return study


@cpu(enable_deck=False)
def propose_trials(study: Study, batch: int, ended: list[Trial]) -> list[Trial]:
    """Propose a batch. ``ended``, the trials of the batch before, makes this task wait for them."""
    from models.tuning.propose import propose

    return propose(task_lake(), study, batch)


@single_gpu(enable_deck=False, timeout=timedelta(hours=24))
def try_parameters(trial: Trial, study: Study) -> Trial:
    """Train a trial, or resume it, until it is complete or pruned."""
    from models.retraining.mlflow import mirror_trial
    from models.tuning.trial import run_trial

    lake = task_lake()
    ended = run_trial(lake, study, trial)
    mirror_trial(lake.settings, study, ended)
    return ended


@cpu
def choose_best(study: Study, ended: list[Trial], by: str) -> Best:
    """Compare every complete trial with the profile itself; the best one shown better wins, or else the profile.

    ``ended``, the trials of the last batch, makes this task wait for them.
    """
    from models.retraining.mlflow import mirror_tuned
    from models.tuning.select import close_study
    from reports.decks.tuning import tuning_deck

    lake = task_lake()
    tuned = close_study(lake, study)
    mirror_tuned(lake.settings, tuned)
    publish(45, "Tuning", *tuning_deck(tuned))
    return Best(tuned.profile, Cause(reason=tuned.reason, by=by))

"""A search over hyperparameters: pin the training set, propose trials, run them side by side, see which wins."""

from datetime import timedelta
from typing import NamedTuple

from models.spec import ModelSpec, TrainingProfile
from models.tuning.plan import SearchSpace, Study, Trial, TuningPlan
from models.types import Cause, TrainingSet
from tasks.environments import cpu, single_gpu
from tasks.runtime import lake, publish


class Examples(NamedTuple):
    """The training set of a whole search, and the model with its base named."""

    training_set: TrainingSet
    spec: ModelSpec


class Best(NamedTuple):
    """The profile to retrain with, and why this one."""

    profile: TrainingProfile
    cause: Cause


@cpu(enable_deck=False)
def pin_examples(spec: ModelSpec) -> Examples:
    """Make a training set of what is in the lake now; every trial sees this one, whatever lands meanwhile."""
    from models.retraining.pin import pin_base, pin_training_set

    here = lake()
    based = pin_base(here, spec)
    return Examples(pin_training_set(here, based), based)


@cpu(enable_deck=False)
def open_study(
    training_set: TrainingSet, spec: ModelSpec, profile: TrainingProfile, space: SearchSpace, plan: TuningPlan
) -> Study:
    """Name the search of these inputs; one that was begun before goes on."""
    from models.retraining.mlflow import mirror_study
    from models.tuning.study import open_study as opened

    here = lake()
    study = opened(here, training_set, spec, profile, space, plan)
    mirror_study(here.settings, study)
    return study


@cpu(enable_deck=False)
def propose_trials(study: Study, batch: int, ended: list[Trial]) -> list[Trial]:
    """Propose a batch. ``ended`` are the trials of the batch before: they are why it can be proposed now."""
    from models.tuning.propose import propose

    return propose(lake(), study, batch)


@single_gpu(enable_deck=False, timeout=timedelta(hours=24))
def try_parameters(trial: Trial, study: Study) -> Trial:
    """Train a trial, or go on with it, until it is complete or not worth going on with."""
    from models.retraining.mlflow import mirror_trial
    from models.tuning.trial import run_trial

    here = lake()
    ended = run_trial(here, study, trial)
    mirror_trial(here.settings, study, ended)
    return ended


@cpu
def choose_best(study: Study, ended: list[Trial], by: str) -> Best:
    """Compare every complete trial with the profile itself; the best of those shown better wins, or else the profile.

    ``ended`` are the trials of the last batch: they are why it can be decided now.
    """
    from models.retraining.mlflow import mirror_tuned
    from models.tuning.select import close_study
    from reports.decks.tuning import tuning_deck

    here = lake()
    tuned = close_study(here, study)
    mirror_tuned(here.settings, tuned)
    publish(45, "Tuning", *tuning_deck(tuned))
    return Best(tuned.profile, Cause(reason=tuned.reason, by=by))

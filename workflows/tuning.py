"""A search over hyperparameters, and the retraining with the best profile.

One training set is pinned for the whole search. Trials run in batches, each proposed from the results of those before
it; the trials of a batch run in parallel. The winner's profile is passed on as a typed input and written to no file.
"""

import functools
from datetime import timedelta

from flytekit import map_task, workflow

from models.spec import ModelSpec, TrainingProfile, laptop
from models.tuning.plan import SearchSpace, Study, Trial, TuningPlan
from models.types import Verdict
from tasks.environments import cpu
from tasks.features import refresh_features
from tasks.reports import write_run_report
from tasks.tuning import Best, choose_best, open_study, pin_examples, propose_trials, try_parameters
from workflows.retraining import retraining


@cpu.dynamic(enable_deck=False, timeout=timedelta(days=7))
def search(study: Study, by: str) -> Best:
    """Batch after batch: propose trials, then run them in parallel. The timeout covers all trials."""
    ended: list[Trial] = []
    for batch in range(study.plan.batches):
        proposed = propose_trials(study=study, batch=batch, ended=ended)
        ended = map_task(functools.partial(try_parameters, study=study))(trial=proposed)
    return choose_best(study=study, ended=ended, by=by)


@workflow
def tuning(
    spec: ModelSpec = ModelSpec(),
    profile: TrainingProfile = laptop(),
    space: SearchSpace = SearchSpace(),
    plan: TuningPlan = TuningPlan(),
    source: str = "",
    by: str = "",
) -> Verdict:
    """Search around a profile on the data in the lake now, and retrain with the best profile found.

    Args:
        spec: which model.
        profile: where the search starts; a winner has to be shown better than it.
        space: the ranges that trials are drawn from.
        plan: how many trials, how many at a time, and how they are pruned and compared.
        source: whose quality the retraining checks; empty: whatever brought the rows.
        by: who started it.
    """
    computed = refresh_features()
    training_set, based = pin_examples(spec=spec)
    computed >> training_set
    study = open_study(training_set=training_set, spec=based, profile=profile, space=space, plan=plan)
    best, cause = search(study=study, by=by)
    verdict = retraining(spec=based, profile=best, source=source, cause=cause)
    write_run_report(verdict=verdict)
    return verdict

"""Propose trials and decide which to prune, with an Optuna study that is rebuilt from the ledger.

Both depend on the trials that had ended when a trial's batch began, never on reports of trials that run at the same
time. So the result of a search does not depend on how its pods are timed, killed or started twice.

Proposals come from a tree-structured Parzen estimator (Bergstra et al. 2011, NeurIPS 24) in its multivariate form
(Falkner et al. 2018, ICML, section 3); running trials of the batch count as bad ones, so they are not proposed twice.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from lake.lake import Lake
from models.tuning.plan import Parameters, Study, Trial, TrialState
from models.tuning.study import known_before, read_trials, write_proposed

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution

DIGITS = 3
"""Significant digits of a proposed learning rate: more make no difference and are harder to read."""


def propose(lake: Lake, study: Study, batch: int) -> list[Trial]:
    """Propose the trials of a batch; those that were proposed before are returned unchanged."""
    numbers = study.plan.numbers(batch)
    known = {trial.number: trial.parameters for trial in read_trials(lake, study)}
    search = _rebuilt(study, known_before(lake, study, numbers[0]))
    if not batch:
        known.setdefault(0, study.space.start(study.profile))
    trials = []
    for number in numbers:
        search.sampler = _sampler(study, number)
        parameters = _next_parameters(search, study, known.get(number))
        trials.append(write_proposed(lake, study, Trial(number=number, parameters=parameters)))
    return trials


def should_prune(study: Study, trial: Trial, before: Sequence[Trial]) -> bool:
    """Whether a trial's best loss so far is outside the plan's best percentage of earlier trials at its last rung.

    ``before`` are the trials that had ended when its batch began.
    """
    search = _rebuilt(study, before)
    search.enqueue_trial(asdict(trial.parameters))
    running = search.ask(_distributions(study))
    for rung in trial.rungs:
        running.report(rung.loss, rung.rung)
    return running.should_prune()


def _rebuilt(study: Study, before: Sequence[Trial]) -> "optuna.Study":
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    plan = study.plan
    pruner = optuna.pruners.PercentilePruner(plan.keep_percent, n_startup_trials=plan.startup)
    search = optuna.create_study(sampler=_sampler(study, 0), pruner=pruner)
    space = _distributions(study)
    for trial in before:
        complete = trial.state is TrialState.COMPLETE
        rungs = [] if trial.state is TrialState.DIVERGED else trial.rungs  # without values Optuna ranks it last
        search.add_trial(
            optuna.trial.create_trial(
                state=optuna.trial.TrialState.COMPLETE if complete else optuna.trial.TrialState.PRUNED,
                value=trial.loss if complete else None,
                params=asdict(trial.parameters),
                distributions=space,
                intermediate_values={rung.rung: rung.loss for rung in rungs},
            )
        )
    return search


def _sampler(study: Study, number: int) -> "optuna.samplers.TPESampler":
    """A sampler with its own seed for each trial, so that a proposal needs no generator state."""
    from optuna.samplers import TPESampler

    digest = hashlib.sha256(f"{study.plan.seed}/{number}".encode()).digest()
    seed = int.from_bytes(digest[:4], "big")
    return TPESampler(seed=seed, n_startup_trials=study.plan.startup, multivariate=True, constant_liar=True)


def _distributions(study: Study) -> "dict[str, BaseDistribution]":
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    space = study.space
    return {
        "learning_rate": FloatDistribution(space.learning_rate_low, space.learning_rate_high, log=True),
        "lora_rank": CategoricalDistribution(sorted(space.lora_ranks)),
        "length": CategoricalDistribution(sorted(space.lengths)),
    }


def _next_parameters(search: "optuna.Study", study: Study, known: Parameters | None) -> Parameters:
    """The sampler's proposal, or ``known`` if it was made before; either way the trial is now running in the search."""
    if known:
        search.enqueue_trial(asdict(known))
    params = search.ask(_distributions(study)).params
    space = study.space
    rate = float(f"{params['learning_rate']:.{DIGITS}g}")
    return known or Parameters(
        learning_rate=min(max(rate, space.learning_rate_low), space.learning_rate_high),
        lora_rank=int(params["lora_rank"]),
        length=float(params["length"]),
    )

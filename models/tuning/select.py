"""Select the winner: the lowest validation loss among the trials shown better than trial 0, the original profile.

Each complete trial is compared with trial 0 on the same rows, with an interval clustered by user. The intervals hold
simultaneously, so more trials do not let a lucky one win more often. If none is shown better, trial 0 wins.
"""

import logging
from dataclasses import asdict, replace

import numpy as np

from errors import DataError
from lake.lake import Lake
from models.evaluation.statistics import PairedScores, paired_interval, simultaneous_level
from models.registry import kinds
from models.serialize import from_plain, to_plain
from models.tuning.plan import Study, Trial, TrialState, Tuned
from models.tuning.study import known_before, ledger_chain
from models.tuning.validation import read_scores, split_train
from models.types import ScoreDifference

log = logging.getLogger("fuelline.tuning")


def close_study(lake: Lake, study: Study) -> Tuned:
    """Compare the trials and record the winner. The ledger keeps the first result for a number of trials.

    Raises ``DataError`` where not all trials were proposed and have ended.
    """
    trials = known_before(lake, study, study.plan.batches * study.plan.parallel)
    if len(trials) < study.plan.trials:
        raise DataError(
            f"study {study.name}: {len(trials)} of {study.plan.trials} trials were proposed; run the others"
        )
    key = f"closed:{study.plan.trials}:{study.plan.confidence}"
    found = lake.ledger.find(ledger_chain(study), key)
    if found is None:
        differences = _differences(lake, study, trials)
        better = {difference.slice for difference in differences if difference.high < 0}
        winner = min([t for t in trials if not t.number or t.name in better], key=lambda trial: trial.loss)
        payload = {"winner": winner.number, "differences": [to_plain(difference) for difference in differences]}
        found = lake.ledger.append(ledger_chain(study), "study_closed", key, payload)
    differences = from_plain(list[ScoreDifference], found.payload["differences"])
    tuned = _tuned(study, trials, found.payload["winner"], differences)
    log.info(tuned.reason)
    _record_in_model_chain(lake, tuned)
    return tuned


def _differences(lake: Lake, study: Study, trials: list[Trial]) -> list[ScoreDifference]:
    """Each complete trial minus trial 0, in order of number."""
    _, judged = split_train(lake, study)
    users = np.array(judged["user_id"].to_pylist(), dtype=str)
    start = read_scores(lake, study, trials[0])
    level = simultaneous_level(study.plan.confidence, study.plan.trials - 1)
    differences = []
    for trial in trials[1:]:
        if trial.state is TrialState.COMPLETE:
            scores = read_scores(lake, study, trial)
            tokens = scores.tokens.astype(np.float64)
            paired = PairedScores(candidate=scores.nll_sum, baseline=start.nll_sum, tokens=tokens, users=users)
            interval = paired_interval(paired, confidence=level, seed=study.plan.seed)
            differences.append(
                ScoreDifference(slice=trial.name, candidate=scores.mean, baseline=start.mean, **asdict(interval))
            )
    return differences


def _tuned(study: Study, trials: list[Trial], number: int, differences: list[ScoreDifference]) -> Tuned:
    winner, profile = trials[number], study.profile
    reason = f"none of {len(trials) - 1} other trials was shown better than profile {profile.name}"
    if number:
        shown = next(difference for difference in differences if difference.slice == winner.name)
        reason = (
            f"{winner.name} of {len(trials)}, {shown.difference:+.3f} [{shown.low:+.3f}, {shown.high:+.3f}] nats per "
            f"response token against profile {profile.name} on {shown.rows} validation rows"
        )
        profile = replace(winner.parameters.of(profile), name=f"{profile.name}+{study.name}.{number}")
    reason = f"tuning {study.name}: {reason}"
    return Tuned(study=study, trials=trials, winner=winner, profile=profile, differences=differences, reason=reason)


def _record_in_model_chain(lake: Lake, tuned: Tuned) -> None:
    """Write an entry to the model's own chain, so that its history has the origin of a profile."""
    study = tuned.study
    lake.ledger.append(
        kinds.model_chain(study.training_set.model),
        kinds.TUNED,
        f"tuned:{study.study_id}:{study.plan.trials}:{study.plan.confidence}",
        {
            "study": study.study_id,
            "training_set_id": study.training_set.training_set_id,
            "trials": len(tuned.trials),
            "winner": tuned.winner.number,
            "parameters": to_plain(tuned.winner.parameters),
            "loss": tuned.winner.loss,
            "start_loss": tuned.start.loss,
            "reason": tuned.reason,
        },
    )

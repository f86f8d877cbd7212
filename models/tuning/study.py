"""A study in the ledger: opened once, with an entry for each step of its trials.

The chain ``tuning/<model>/<study id>`` is the only state of a study, so there is no database to run, to lock or to
lose. Its entries: ``study_opened``, ``trial_proposed``, ``trial_reported`` at each rung, ``trial_complete``,
``trial_pruned`` or ``trial_diverged``, ``study_closed``. The ledger keeps the first entry of a key.
"""

import hashlib
import json
from dataclasses import asdict
from typing import TypeVar

from errors import DataError, TrainingError
from lake.lake import Lake
from models.llm.base_model import resolve
from models.llm.code_version import TUNING_CODE, code_digest
from models.serialize import from_plain, to_plain
from models.spec import ModelSpec, TrainingProfile
from models.tuning.plan import Rung, SearchSpace, Study, Trial, TrialState, TuningPlan
from models.types import TrainingSet

T = TypeVar("T", Trial, Rung)


def ledger_chain(study: Study) -> str:
    """Name of the study's ledger chain: ``tuning/agents/<32 hex digits>``."""
    return f"tuning/{study.training_set.model}/{study.study_id}"


def open_study(
    lake: Lake,
    training_set: TrainingSet,
    spec: ModelSpec,
    profile: TrainingProfile,
    space: SearchSpace,
    plan: TuningPlan,
) -> Study:
    """Open the study of these inputs in the ledger; an existing one continues.

    Raises ``UserError`` where the profile's own parameters are outside the space.
    """
    space.start(profile)
    parts = {
        "training_set": training_set.training_set_id,
        "base": resolve(lake.settings, spec.base).digest,
        "spec": {name: value for name, value in asdict(spec).items() if name != "base"},
        "parameters": profile.training_parameters(),
        "space": asdict(space),
        "plan": {name: value for name, value in asdict(plan).items() if name not in ("trials", "confidence")},
        "code": code_digest(*TUNING_CODE),
    }
    study = Study(
        study_id=hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32],
        training_set=training_set,
        spec=spec,
        profile=profile,
        space=space,
        plan=plan,
    )
    lake.ledger.append(ledger_chain(study), "study_opened", "opened", parts)
    return study


def read_trials(lake: Lake, study: Study) -> list[Trial]:
    """The plan's trials that were proposed so far, in their present state, by number."""
    entries = lake.ledger.entries(ledger_chain(study))
    trials = [from_plain(Trial, e.payload) for e in entries if e.key.startswith(("proposed:", "ended:"))]
    latest = {trial.number: trial for trial in trials if trial.number < study.plan.trials}
    return [latest[number] for number in sorted(latest)]


def read_rungs(lake: Lake, study: Study, number: int) -> list[Rung]:
    """The rungs that a trial reported so far, in order."""
    entries = lake.ledger.entries(ledger_chain(study), kind="trial_reported")
    rungs = [from_plain(Rung, e.payload) for e in entries if e.key.startswith(f"reported:{number}:")]
    return sorted(rungs, key=lambda rung: rung.rung)


def known_before(lake: Lake, study: Study, number: int) -> list[Trial]:
    """The trials of all batches before this trial's, which its proposal and its pruning use; all have ended.

    Raises ``DataError`` where one has not, and ``TrainingError`` where trial 0 diverged: nothing to compare with.
    """
    before = [trial for trial in read_trials(lake, study) if trial.number < study.plan.first_of_batch(number)]
    if running := [trial.number for trial in before if trial.state is TrialState.PROPOSED]:
        raise DataError(f"study {study.name}: trials {running} have not ended; run them first")
    if before and before[0].state is TrialState.DIVERGED:
        raise TrainingError(
            f"the loss of trial 0, profile {study.profile.name} itself, is not finite; lower its learning_rate "
            f"(now {study.profile.learning_rate}) before searching around it"
        )
    return before


def write_proposed(lake: Lake, study: Study, trial: Trial) -> Trial:
    """Record a proposal and return it; the ledger keeps the first one of a number."""
    return _recorded(lake, study, "trial_proposed", f"proposed:{trial.number}", trial)


def write_rung(lake: Lake, study: Study, number: int, rung: Rung) -> Rung:
    """Record a trial's loss at a rung and return it; the ledger keeps the first one of a rung."""
    return _recorded(lake, study, "trial_reported", f"reported:{number}:{rung.rung}", rung)


def write_ended(lake: Lake, study: Study, trial: Trial) -> Trial:
    """Record how a trial ended and return it; the ledger keeps the first end."""
    return _recorded(lake, study, f"trial_{trial.state.value}", f"ended:{trial.number}", trial)


def _recorded(lake: Lake, study: Study, kind: str, key: str, record: T) -> T:
    return from_plain(type(record), lake.ledger.append(ledger_chain(study), kind, key, to_plain(record)).payload)


def find_ended(lake: Lake, study: Study, number: int) -> Trial | None:
    """The trial, if it has ended."""
    entry = lake.ledger.find(ledger_chain(study), f"ended:{number}")
    return from_plain(Trial, entry.payload) if entry else None

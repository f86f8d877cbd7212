"""Run one trial: a training on the earlier part of the train split, evaluated at each rung on its last part in time.

A trial has a checkpoint at each rung, and the rung is recorded before its checkpoint, so a killed trial continues from
a reported rung. It uses the loop of every other training, on one device; several processes are replaced by accumulated
gradients, which give the same result within rounding.
"""

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from errors import TrainingError
from lake.lake import Lake
from models.llm.base_model import load, resolve
from models.llm.distributed import ProcessGroup, dtype_of, fingerprint, has_gpu, repeatable
from models.llm.likelihood import Likelihoods, examples_nll
from models.llm.lora import add_adapter
from models.llm.tokens import prompts_and_answers, tokenize, training_examples
from models.spec import TrainingProfile
from models.training.checkpoints import Checkpoints, Progress
from models.training.loop import OnStep, TrainingLoop, planned_steps
from models.tuning.plan import Rung, Study, Trial, TrialState
from models.tuning.propose import should_prune
from models.tuning.study import find_ended, known_before, read_rungs, write_ended, write_rung
from models.tuning.validation import split_train, write_scores

log = logging.getLogger("fuelline.tuning")


def run_trial(lake: Lake, study: Study, trial: Trial, *, on_step: OnStep | None = None) -> Trial:
    """Run a proposed trial to its end, continue one that was killed, or return one that has ended.

    A loss that is not finite ends the trial, not the search. Raises ``DataError`` where there are too few rows to train
    or to evaluate on.
    """
    folder = f"{study.folder}/checkpoints/{trial.number:03d}"
    ended = find_ended(lake, study, trial.number)
    if ended is None:
        log.info("trial %d: %s", trial.number, trial.parameters)
        ended = write_ended(lake, study, _run(lake, study, trial, folder, on_step))
        log.info("trial %d %s at step %d, loss %.4f", ended.number, ended.state.value, ended.steps, ended.loss)
    Checkpoints(store=lake.store, folder=folder, fingerprint={}).clear()
    return ended


def trial_profile(study: Study, trial: Trial) -> TrainingProfile:
    """The trial's profile: its parameters on one device, with as many rows per step as the training will have."""
    profile = trial.parameters.of(study.profile)
    accumulation = profile.gradient_accumulation * max(1, profile.processes)
    return replace(profile, processes=1, gradient_accumulation=accumulation)


def _run(lake: Lake, study: Study, trial: Trial, folder: str, on_step: OnStep | None) -> Trial:
    group = ProcessGroup(device="cuda:0" if has_gpu() else "cpu")
    profile = trial_profile(study, trial)
    with repeatable(profile):
        training = _TrialTraining(lake, study, trial, profile, group)
        checkpoints = _RungCheckpoints(
            store=lake.store,
            folder=folder,
            fingerprint=fingerprint(group, dtype_of(profile, group.device)),
            training=training,
        )
        try:
            scores = training.run(checkpoints, on_step)
        except _Pruned:
            state = TrialState.PRUNED
        except TrainingError as error:
            log.warning("trial %d: %s", trial.number, error)
            state = TrialState.DIVERGED
        else:
            state = TrialState.COMPLETE
            write_scores(lake, study, trial, scores)
    return replace(trial, state=state, rungs=read_rungs(lake, study, trial.number))


class _Pruned(Exception):
    """The trial is pruned."""


class _TrialTraining:
    """A trial in this process: the training loop, and the rows to evaluate on."""

    def __init__(self, lake: Lake, study: Study, trial: Trial, profile: TrainingProfile, group: ProcessGroup) -> None:
        self.lake, self.study, self.trial = lake, study, trial
        self.before = known_before(lake, study, trial.number)
        train_rows, validation_rows = split_train(lake, study)
        base = resolve(lake.settings, study.spec.base)
        model, self.tokenizer = load(base, dtype_of(profile, group.device), group.device)
        examples = training_examples(train_rows, self.tokenizer, profile.max_tokens)
        self.validation = tokenize(*prompts_and_answers(validation_rows), self.tokenizer, profile.max_tokens)
        self.steps = planned_steps(len(examples), profile, group.world)
        self.part = max(1, math.ceil(self.steps / study.plan.rungs))
        torch.manual_seed(profile.seed)
        self.model = add_adapter(model, profile)
        by_part = replace(profile, checkpoint_every=self.part)
        self.loop = TrainingLoop(self.model, examples, by_part, group, int(self.tokenizer.pad_token_id))

    def run(self, checkpoints: "_RungCheckpoints", on_step: OnStep | None) -> Likelihoods:
        """Train to the end and return the scores of the validation rows."""
        self.loop.run(checkpoints, on_step)
        return self._report(self.study.plan.rungs, self.steps)

    def evaluate_rung(self, step: int) -> None:
        """Evaluate at a rung. Raises ``_Pruned``."""
        rung = step // self.part
        self._report(rung, step)
        rungs = [known for known in read_rungs(self.lake, self.study, self.trial.number) if known.rung <= rung]
        if should_prune(self.study, replace(self.trial, rungs=rungs), self.before):
            raise _Pruned

    def _report(self, rung: int, step: int) -> Likelihoods:
        scores = examples_nll(self.model, self.validation, self.tokenizer)
        if not math.isfinite(scores.mean):
            raise TrainingError(f"the validation loss is {scores.mean} at step {step} of {self.steps}")
        written = write_rung(self.lake, self.study, self.trial.number, Rung(rung=rung, step=step, loss=scores.mean))
        log.info("trial %d step %d/%d  validation loss %.4f", self.trial.number, step, self.steps, written.loss)
        return scores


@dataclass(frozen=True, kw_only=True)
class _RungCheckpoints(Checkpoints):
    """Checkpoints at rungs: the loss is recorded before the weights are stored."""

    training: _TrialTraining

    def save(self, progress: Progress, state: Mapping[str, torch.Tensor]) -> None:
        """See ``Checkpoints``. Raises ``_Pruned``."""
        self.training.evaluate_rung(progress.step)
        super().save(progress, state)

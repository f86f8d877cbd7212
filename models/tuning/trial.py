"""One trial: a training on the earlier part of the train split, judged at each rung on its last part in time.

A trial's checkpoints are its rungs, and a rung is written down before its checkpoint, so whatever a killed trial goes
on from was reported. It trains with the loop of every other training, on one device; what would be several processes
become accumulated gradients, which are equal to them within rounding.
"""

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from errors import TrainingError
from lake.lake import Lake
from models.evaluation.pair import prompts_and_answers
from models.llm.base_model import load, resolve
from models.llm.distributed import ProcessGroup, dtype_of, fingerprint, has_gpu, repeatable
from models.llm.likelihood import Likelihoods, examples_nll
from models.llm.lora import add_adapter
from models.llm.tokens import tokenize, training_examples
from models.spec import TrainingProfile
from models.training.checkpoints import Checkpoints, Progress
from models.training.loop import OnStep, TrainingLoop, planned_steps
from models.tuning.plan import Rung, Study, Trial, TrialState
from models.tuning.propose import should_prune
from models.tuning.study import find_ended, known_before, read_rungs, write_ended, write_rung
from models.tuning.validation import split_train, write_scores

log = logging.getLogger("fuelline.tuning")


def run_trial(lake: Lake, study: Study, trial: Trial, *, on_step: OnStep | None = None) -> Trial:
    """Run a proposed trial to its end, go on with it where it was killed, or return it if it has ended.

    A loss that leaves the real numbers ends the trial, not the search.

    Args:
        lake: where the rows are and the trial is written down.
        study: whose trial it is.
        trial: as proposed.
        on_step: called after each step.

    Raises:
        DataError: too few rows to learn from or to judge on.
        BaseModelError: the base model is not there, or has none of the profile's LoRA targets.
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
    """What the trial trains with: its parameters, on one device, with as many rows a step as the training will have."""
    wanted = trial.parameters.of(study.profile)
    return replace(wanted, processes=1, gradient_accumulation=wanted.gradient_accumulation * max(1, wanted.processes))


def _run(lake: Lake, study: Study, trial: Trial, folder: str, on_step: OnStep | None) -> Trial:
    group = ProcessGroup(device="cuda:0" if has_gpu() else "cpu")
    profile = trial_profile(study, trial)
    with repeatable(profile):
        climb = _Climb(lake, study, trial, profile, group)
        ladder = _Ladder(
            store=lake.store,
            folder=folder,
            fingerprint=fingerprint(group, dtype_of(profile, group.device)),
            climb=climb,
        )
        try:
            scores = climb.run(ladder, on_step)
        except _Hopeless:
            state = TrialState.PRUNED
        except TrainingError as error:
            log.warning("trial %d: %s", trial.number, error)
            state = TrialState.DIVERGED
        else:
            state = TrialState.COMPLETE
            write_scores(lake, study, trial, scores)
    return replace(trial, state=state, rungs=read_rungs(lake, study, trial.number))


class _Hopeless(Exception):
    """The trial is not worth going on with."""


class _Climb:
    """A trial in this process: the loop that trains it, and the rows it is judged on."""

    def __init__(self, lake: Lake, study: Study, trial: Trial, profile: TrainingProfile, group: ProcessGroup) -> None:
        self.lake, self.study, self.trial = lake, study, trial
        self.before = known_before(lake, study, trial.number)
        learnt, judged = split_train(lake, study)
        base = resolve(lake.settings, study.spec.base)
        model, self.tokenizer = load(base, dtype_of(profile, group.device), group.device)
        examples = training_examples(learnt, self.tokenizer, profile.max_tokens)
        messages, answers = prompts_and_answers(judged)
        self.judged = tokenize(messages, answers, self.tokenizer, profile.max_tokens)
        self.steps = planned_steps(len(examples), profile, group.world)
        self.part = max(1, math.ceil(self.steps / study.plan.rungs))
        torch.manual_seed(profile.seed)
        self.model = add_adapter(model, profile)
        by_part = replace(profile, checkpoint_every=self.part)
        self.loop = TrainingLoop(self.model, examples, by_part, group, int(self.tokenizer.pad_token_id))

    def run(self, ladder: "_Ladder", on_step: OnStep | None) -> Likelihoods:
        """Train to the end; the scores of the judged rows there."""
        self.loop.run(ladder, on_step)
        return self._report(self.study.plan.rungs, self.steps)

    def pause(self, step: int) -> None:
        """Judge part of the way. Raises ``_Hopeless``."""
        rung = step // self.part
        self._report(rung, step)
        so_far = [one for one in read_rungs(self.lake, self.study, self.trial.number) if one.rung <= rung]
        if should_prune(self.study, replace(self.trial, rungs=so_far), self.before):
            raise _Hopeless

    def _report(self, rung: int, step: int) -> Likelihoods:
        scores = examples_nll(self.model, self.judged, self.tokenizer)
        if not math.isfinite(scores.mean):
            raise TrainingError(f"the validation loss is {scores.mean} at step {step} of {self.steps}")
        told = write_rung(self.lake, self.study, self.trial.number, Rung(rung=rung, step=step, loss=scores.mean))
        log.info("trial %d step %d/%d  validation loss %.4f", self.trial.number, step, self.steps, told.loss)
        return scores


@dataclass(frozen=True, kw_only=True)
class _Ladder(Checkpoints):
    """Checkpoints at rungs: the loss is written down before the weights are."""

    climb: _Climb

    def save(self, progress: Progress, state: Mapping[str, torch.Tensor]) -> None:
        """See ``Checkpoints``. Raises ``_Hopeless``."""
        self.climb.pause(progress.step)
        super().save(progress, state)

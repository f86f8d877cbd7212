"""What a search over hyperparameters is: the space, the plan, the trials, and the study that holds them together.

Space and plan are launch-plan inputs beside the profile that the search starts from. That profile's own parameters
are always trial 0, so a search can end with nothing worse than what it began with.
"""

import math
from dataclasses import dataclass, field, replace
from enum import Enum

from errors import UserError
from models.spec import ModelSpec, TrainingProfile
from models.types import ScoreDifference, TrainingSet


@dataclass(frozen=True, kw_only=True, slots=True)
class Parameters:
    """What one trial tries."""

    learning_rate: float
    lora_rank: int
    length: float
    """In multiples of the profile's own epochs (and of its ``max_steps``, where it has one)."""

    def of(self, base: TrainingProfile) -> TrainingProfile:
        """The base profile with these parameters. LoRA's scale, alpha / rank, stays what it was."""
        return replace(
            base,
            learning_rate=self.learning_rate,
            lora_rank=self.lora_rank,
            lora_alpha=max(1, round(base.lora_alpha * self.lora_rank / base.lora_rank)),
            epochs=base.epochs * self.length,
            max_steps=max(1, round(base.max_steps * self.length)) if base.max_steps else 0,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchSpace:
    """What may be tried. It holds the parameters of the profile that the search starts from."""

    learning_rate_low: float = 1e-4
    """Peak rates are drawn between the two, evenly on a logarithmic scale."""
    learning_rate_high: float = 2e-2
    lora_ranks: list[int] = field(default_factory=lambda: [4, 8, 16, 32])
    lengths: list[float] = field(default_factory=lambda: [0.5, 1.0, 2.0])
    """Epochs, in multiples of the profile's own, so that one space fits a profile of passes and one of steps."""

    def __post_init__(self) -> None:
        if not 0 < self.learning_rate_low < self.learning_rate_high:
            raise ValueError(
                f"learning rates run from a low to a higher one above 0, not from {self.learning_rate_low} to "
                f"{self.learning_rate_high}"
            )
        if not self.lora_ranks or min(self.lora_ranks) < 1 or len(set(self.lora_ranks)) < len(self.lora_ranks):
            raise ValueError(f"lora_ranks are different numbers from 1 up, not {self.lora_ranks}")
        if not self.lengths or min(self.lengths) <= 0 or len(set(self.lengths)) < len(self.lengths):
            raise ValueError(f"lengths are different numbers above 0, not {self.lengths}")

    def start(self, base: TrainingProfile) -> Parameters:
        """The base profile's own parameters: trial 0.

        Raises:
            UserError: they lie outside the space.
        """
        if not self.learning_rate_low <= base.learning_rate <= self.learning_rate_high:
            raise UserError(
                f"profile {base.name} has learning_rate {base.learning_rate}, outside the space's "
                f"{self.learning_rate_low} to {self.learning_rate_high}: widen the space to hold it"
            )
        if base.lora_rank not in self.lora_ranks:
            raise UserError(f"profile {base.name} has lora_rank {base.lora_rank}; add it to lora_ranks")
        if 1.0 not in self.lengths:
            raise UserError(f"lengths {self.lengths} lack 1.0, the length of profile {base.name} itself; add it")
        return Parameters(learning_rate=base.learning_rate, lora_rank=base.lora_rank, length=1.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class TuningPlan:
    """How much is tried and how it is judged."""

    trials: int = 12
    """The profile's own parameters included. With more of them a study goes on where it ended with fewer."""
    parallel: int = 4
    """Trials of a batch, which run at the same time. A batch learns from the batches before it, so the more at once,
    the less is learnt from each."""
    startup: int = 4
    """Trials drawn at random before the search learns from them; none is pruned before so many are complete."""
    rungs: int = 4
    """Equal parts of a trial: after each its loss is compared with that of the trials before at the same part."""
    keep_percent: float = 50.0
    """A trial goes on if its best loss so far is among so many percent of the complete trials' at this rung."""
    validation_share: float = 0.15
    """Share of the train split, its last part in time, that trials are judged on and never trained on."""
    validation_rows: int = 400
    """Validation rows judged, spread evenly over their time; 0: all."""
    confidence: float = 0.95
    """Level that all trials' intervals against the profile's own loss have together."""
    seed: int = 0
    """Of the proposals. The training's seed is the profile's, the same for every trial."""

    def __post_init__(self) -> None:
        for name in ("trials", "parallel", "startup", "rungs"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if not 0 < self.keep_percent <= 100:
            raise ValueError(f"keep_percent lies above 0 and up to 100, not at {self.keep_percent}")
        if not 0 < self.validation_share <= 0.5:
            raise ValueError(f"validation_share lies above 0 and up to 0.5, not at {self.validation_share}")
        if self.validation_rows < 0:
            raise ValueError(f"validation_rows must not be negative, but is {self.validation_rows}")
        if not 0.5 <= self.confidence < 1:
            raise ValueError(f"confidence must be at least 0.5 and below 1, not {self.confidence}")

    @property
    def batches(self) -> int:
        """How many times trials are proposed."""
        return math.ceil(self.trials / self.parallel)

    def numbers(self, batch: int) -> range:
        """The numbers of this batch's trials."""
        return range(batch * self.parallel, min((batch + 1) * self.parallel, self.trials))

    def first_of_batch(self, number: int) -> int:
        """Number of the first trial that is proposed together with this one: what came before it was known to both."""
        return number - number % self.parallel


@dataclass(frozen=True, kw_only=True, slots=True)
class Study:
    """One search on one pinned training set."""

    study_id: str
    """32 hex digits over all that decides its trials: set, base, spec, profile, space, plan and code."""
    training_set: TrainingSet
    spec: ModelSpec
    profile: TrainingProfile
    """Where the search starts."""
    space: SearchSpace
    plan: TuningPlan

    @property
    def name(self) -> str:
        """What people are told: the first eight digits."""
        return self.study_id[:8]

    @property
    def folder(self) -> str:
        """Where its trials' scores lie in the object store."""
        return f"ml/tuning/{self.study_id}"


class TrialState(Enum):
    """How far a trial has come."""

    PROPOSED = "proposed"
    COMPLETE = "complete"
    PRUNED = "pruned"
    DIVERGED = "diverged"
    """Its loss left the real numbers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rung:
    """The validation loss part of the way."""

    rung: int
    """Counts from 1; the plan's ``rungs`` is the end."""
    step: int
    loss: float
    """Nats a response token."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """One set of parameters and what came of it."""

    number: int
    """From 0, which is the profile's own parameters."""
    parameters: Parameters
    state: TrialState = TrialState.PROPOSED
    rungs: list[Rung] = field(default_factory=list)

    @property
    def name(self) -> str:
        """``trial 3``."""
        return f"trial {self.number}"

    @property
    def loss(self) -> float:
        """The last validation loss, nats a response token; infinite where there is none."""
        return self.rungs[-1].loss if self.rungs and self.state is not TrialState.DIVERGED else math.inf

    @property
    def steps(self) -> int:
        """The step of the last rung."""
        return self.rungs[-1].step if self.rungs else 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Tuned:
    """What a search came to."""

    study: Study
    trials: list[Trial]
    """All of them, by number."""
    winner: Trial
    """Trial 0, the profile's own parameters, where nothing was shown better."""
    profile: TrainingProfile
    """The study's profile with the winner's parameters: the input of a retraining."""
    differences: list[ScoreDifference]
    """Of each complete trial against trial 0, below zero is better; ``slice`` is the trial's name."""
    reason: str
    """In words, for the ledger."""

    @property
    def start(self) -> Trial:
        """Trial 0."""
        return self.trials[0]

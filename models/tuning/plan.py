"""A hyperparameter search: its space, plan and trials, and the study that contains them.

Space and plan are launch-plan inputs beside the profile that the search starts from. That profile's own parameters are
always trial 0, so the result of a search is never worse than its start.
"""

import math
from dataclasses import dataclass, field, replace
from enum import Enum

from errors import UserError
from models.spec import ModelSpec, TrainingProfile
from models.types import ScoreDifference, TrainingSet


@dataclass(frozen=True, kw_only=True, slots=True)
class Parameters:
    """The parameters of one trial."""

    learning_rate: float
    lora_rank: int
    length: float
    """Multiple of the profile's epochs (and of its ``max_steps``, if it has one)."""

    def of(self, base: TrainingProfile) -> TrainingProfile:
        """The base profile with these parameters. LoRA's scale, alpha / rank, is unchanged."""
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
    """The possible parameters. They include those of the profile that the search starts from."""

    learning_rate_low: float = 1e-4
    """Peak rates are drawn between the two limits, uniformly on a logarithmic scale."""
    learning_rate_high: float = 2e-2
    lora_ranks: list[int] = field(default_factory=lambda: [4, 8, 16, 32])
    lengths: list[float] = field(default_factory=lambda: [0.5, 1.0, 2.0])
    """Multiples of the profile's epochs and ``max_steps``, so one space fits profiles with either limit."""

    def __post_init__(self) -> None:
        if not 0 < self.learning_rate_low < self.learning_rate_high:
            raise ValueError(
                f"learning_rate_low must be above 0 and below learning_rate_high, not {self.learning_rate_low} and "
                f"{self.learning_rate_high}"
            )
        if not self.lora_ranks or min(self.lora_ranks) < 1 or len(set(self.lora_ranks)) < len(self.lora_ranks):
            raise ValueError(f"lora_ranks must be different numbers of at least 1, not {self.lora_ranks}")
        if not self.lengths or min(self.lengths) <= 0 or len(set(self.lengths)) < len(self.lengths):
            raise ValueError(f"lengths must be different numbers above 0, not {self.lengths}")

    def start(self, base: TrainingProfile) -> Parameters:
        """The base profile's own parameters: trial 0. Raises ``UserError`` where they are outside the space."""
        if not self.learning_rate_low <= base.learning_rate <= self.learning_rate_high:
            raise UserError(
                f"profile {base.name} has learning_rate {base.learning_rate}, outside the space's "
                f"{self.learning_rate_low} to {self.learning_rate_high}: widen the space to include it"
            )
        if base.lora_rank not in self.lora_ranks:
            raise UserError(f"profile {base.name} has lora_rank {base.lora_rank}; add it to lora_ranks")
        if 1.0 not in self.lengths:
            raise UserError(f"lengths {self.lengths} do not have 1.0, the length of profile {base.name}; add it")
        return Parameters(learning_rate=base.learning_rate, lora_rank=base.lora_rank, length=1.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class TuningPlan:
    """The size of a search, and how its trials are evaluated."""

    trials: int = 12
    """Number of trials, including the profile's own parameters. With more of them a study continues where it ended."""
    parallel: int = 4
    """Trials per batch, which run at the same time. A batch uses the results of the batches before it, so larger
    batches use fewer results."""
    startup: int = 4
    """Trials drawn at random before the search uses results; none is pruned before as many are complete."""
    rungs: int = 4
    """Equal parts of a trial: after each its loss is compared with that of earlier trials at the same part."""
    keep_percent: float = 50.0
    """A trial continues if its best loss so far is among this percentage of the complete trials' losses at the rung."""
    validation_share: float = 0.15
    """Share of the train split, its last part in time, on which trials are evaluated and not trained."""
    validation_rows: int = 400
    """Number of validation rows, spread evenly over their time; 0: all."""
    confidence: float = 0.95
    """Simultaneous level of all trials' intervals against trial 0."""
    seed: int = 0
    """Seed of the proposals. All trials train with the profile's seed."""

    def __post_init__(self) -> None:
        for name in ("trials", "parallel", "startup", "rungs"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if not 0 < self.keep_percent <= 100:
            raise ValueError(f"keep_percent must be above 0 and at most 100, not {self.keep_percent}")
        if not 0 < self.validation_share <= 0.5:
            raise ValueError(f"validation_share must be above 0 and at most 0.5, not {self.validation_share}")
        if self.validation_rows < 0:
            raise ValueError(f"validation_rows must be at least 0, not {self.validation_rows}")
        if not 0.5 <= self.confidence < 1:
            raise ValueError(f"confidence must be at least 0.5 and below 1, not {self.confidence}")

    @property
    def batches(self) -> int:
        return math.ceil(self.trials / self.parallel)

    def numbers(self, batch: int) -> range:
        """Of this batch's trials."""
        return range(batch * self.parallel, min((batch + 1) * self.parallel, self.trials))

    def first_of_batch(self, number: int) -> int:
        """Number of the first trial in this one's batch: the trials before it are known to the whole batch."""
        return number - number % self.parallel


@dataclass(frozen=True, kw_only=True, slots=True)
class Study:
    """One search on one pinned training set."""

    study_id: str
    """32 hex digits over everything that decides its trials: set, base, spec, profile, space, plan and code."""
    training_set: TrainingSet
    spec: ModelSpec
    profile: TrainingProfile
    """The profile that the search starts from."""
    space: SearchSpace
    plan: TuningPlan

    @property
    def name(self) -> str:
        """The first eight digits."""
        return self.study_id[:8]

    @property
    def folder(self) -> str:
        """Folder of its trials' scores in the object store."""
        return f"ml/tuning/{self.study_id}"


class TrialState(Enum):
    PROPOSED = "proposed"
    COMPLETE = "complete"
    PRUNED = "pruned"
    DIVERGED = "diverged"
    """Its loss is not finite."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rung:
    """The validation loss after one part of a trial."""

    rung: int
    """From 1; the plan's ``rungs`` is the last one."""
    step: int
    loss: float
    """Nats per response token."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """One set of parameters and its result."""

    number: int
    """From 0; trial 0 has the profile's own parameters."""
    parameters: Parameters
    state: TrialState = TrialState.PROPOSED
    rungs: list[Rung] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"trial {self.number}"

    @property
    def loss(self) -> float:
        """The last validation loss, nats per response token; infinite if there is none."""
        return self.rungs[-1].loss if self.rungs and self.state is not TrialState.DIVERGED else math.inf

    @property
    def steps(self) -> int:
        return self.rungs[-1].step if self.rungs else 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Tuned:
    """The result of a search."""

    study: Study
    trials: list[Trial]
    """All trials, by number."""
    winner: Trial
    """Trial 0, the profile's own parameters, if no other was shown better."""
    profile: TrainingProfile
    """The study's profile with the winner's parameters: the input of a retraining."""
    differences: list[ScoreDifference]
    """Each complete trial minus trial 0, below zero is better; ``slice`` is the trial's name."""
    reason: str
    """A sentence for the ledger."""

    @property
    def start(self) -> Trial:
        return self.trials[0]

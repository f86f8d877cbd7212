"""The canary's rule: what is bad, how much of it is tolerated, and how sure one has to be. A launch-plan input."""

from dataclasses import dataclass, field
from enum import Enum
from itertools import pairwise


class Metric(Enum):
    """A kind of bad event. Each interaction is bad or not in each of them, where it has one at all."""

    ERROR = "error"
    SLOW = "slow"
    THUMBS_DOWN = "thumbs_down"


HARM_ONLY = 1.0
"""The margin that nothing exceeds: such a metric can roll back, and never stands in the way of a promotion."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CanaryRule:
    """How a candidate is taken to everybody, and what stops it."""

    steps: list[float] = field(default_factory=lambda: [0.10, 0.50])
    """Shares of the users before the promotion, increasing, between 0 and 1."""
    error_margin: float = 0.02
    """Excess of the candidate's bad rate over the stable one that may be tolerated, absolute: 0.02 is two in a hundred
    requests more. 1.0 judges the metric for harm alone: it can roll back, and a promotion does not wait for it."""
    slow_margin: float = 0.05
    thumbs_down_margin: float = 0.10
    """Of the rated answers. Ratings are rare: read what the plan says before the rollout starts."""
    slo_ms: int = 5000
    """An answer that took longer is slow, and so is one whose client did not wait for its end. Below the 30,000 ms at
    which a call is given up."""
    promote_error: float = 0.01
    """Chance of promoting a candidate that is worse than a margin, at most: over all metrics and looks together."""
    rollback_error: float = 0.01
    """Chance of rolling back a candidate that is equal, at most: over all metrics and looks together."""
    min_requests: int = 50
    """Requests that the candidate must have answered within a step before the next."""
    min_users: int = 20
    """Users whom it must have answered within a step before the next."""
    proof_hours: float = 1.0
    """How long after its shadow every replica may take to load the candidate and prove that it applies it, before its
    first user; after that the rollout is inconclusive."""
    missing_minutes: float = 10.0
    """How long most of the candidate's calls may find it loaded nowhere, or be answered by another version, while the
    stable one answers; after that it is rolled back. Longer than a replica takes to start."""
    deadline_hours: float = 168.0
    """After this many hours without a decision the rollout is inconclusive."""
    soak_hours: float = 24.0
    """How long a promoted version is still watched."""
    soak_holdback: float = 0.10
    """Share of the users that stays with the former version meanwhile."""
    approval: bool = False
    """Whether a person has to agree before the promotion."""

    def __post_init__(self) -> None:
        shares = self.shares()
        if not self.steps or not all(low < high for low, high in pairwise([0.0, *shares, 1.0])):
            raise ValueError(f"the shares must increase between 0 and 1, holdback included, not {shares}")
        for name in ("error_margin", "slow_margin", "thumbs_down_margin"):
            if not 0 < getattr(self, name) <= HARM_ONLY:
                raise ValueError(f"{name} must lie above 0 and be at most 1, not {getattr(self, name)}")
        for name in ("promote_error", "rollback_error"):
            if not 0 < getattr(self, name) < 0.5:
                raise ValueError(f"{name} must lie between 0 and 0.5, not {getattr(self, name)}")
        for name in ("slo_ms", "min_requests", "min_users", "proof_hours", "missing_minutes", "deadline_hours"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0, not {getattr(self, name)}")
        if self.soak_hours < 0:
            raise ValueError(f"soak_hours must not be negative, not {self.soak_hours}")

    def shares(self) -> list[float]:
        """Shares of the candidate from the first step to the soak, where all but those held back are with it."""
        return [*self.steps, 1 - self.soak_holdback]

    def margin(self, metric: Metric) -> float:
        """The tolerated excess of a metric's bad rate."""
        return {
            Metric.ERROR: self.error_margin,
            Metric.SLOW: self.slow_margin,
            Metric.THUMBS_DOWN: self.thumbs_down_margin,
        }[metric]

    def judged_for_promotion(self, metric: Metric) -> bool:
        """Whether a promotion waits for this metric."""
        return self.margin(metric) < HARM_ONLY

"""The canary's rule: which answers are bad, how many more of them are tolerated, and the error probabilities.

It is an input of a launch plan.
"""

from dataclasses import dataclass, field
from enum import Enum
from itertools import pairwise


class Metric(Enum):
    """A kind of bad event. An interaction is bad or not in each metric in which it has an outcome."""

    ERROR = "error"
    SLOW = "slow"
    THUMBS_DOWN = "thumbs_down"


HARM_ONLY = 1.0
"""The margin that no rate exceeds: a metric with it can cause a rollback, and never delays a promotion."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CanaryRule:
    """The steps by which a candidate is rolled out to all users, and what stops it."""

    steps: list[float] = field(default_factory=lambda: [0.10, 0.50])
    """Shares of the users before the promotion, increasing, between 0 and 1."""
    error_margin: float = 0.02
    """Tolerated excess of the candidate's bad rate over the stable one, absolute: 0.02 is two more in a hundred
    requests. With 1.0 the metric is tested for harm only: it can roll back, and a promotion does not wait for it."""
    slow_margin: float = 0.05
    thumbs_down_margin: float = 0.10
    """Of the rated answers. Ratings are rare: read the forecast that is logged before the first user."""
    slo_ms: int = 5000
    """An answer that took longer is slow, and so is one whose client did not wait for its end. Must be below the
    30,000 ms after which the gateway gives a call up."""
    promote_error: float = 0.01
    """Probability of promoting a candidate worse than a margin, at most: over all metrics and interim analyses."""
    rollback_error: float = 0.01
    """Probability of rolling back an equal candidate, at most: over all metrics and interim analyses."""
    min_requests: int = 50
    """Requests that the candidate must have answered at a step before the next one."""
    min_users: int = 20
    """Users whose requests it must have answered at a step before the next one."""
    proof_hours: float = 1.0
    """How long after its shadow every replica may take to load the candidate and prove that it applies it. Without
    these proofs it gets no user, and the rollout is inconclusive."""
    missing_minutes: float = 10.0
    """How long most of the candidate's calls may find it loaded on no replica, or be answered by another version, while
    the stable one answers; after that it is rolled back. Longer than a replica takes to start."""
    deadline_hours: float = 168.0
    """After this many hours without a decision the rollout is inconclusive."""
    soak_hours: float = 24.0
    """How long a promoted version is watched."""
    soak_holdback: float = 0.10
    """Share of the users that stays with the former version during the watch."""
    approval: bool = False
    """Whether a person has to approve the promotion."""

    def __post_init__(self) -> None:
        shares = self.shares()
        if not self.steps or not all(low < high for low, high in pairwise([0.0, *shares, 1.0])):
            raise ValueError(f"steps and 1 - soak_holdback must increase between 0 and 1, not {shares}")
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
        """The candidate's shares of the users, from the first step to the watch (1 - ``soak_holdback``)."""
        return [*self.steps, 1 - self.soak_holdback]

    def margin(self, metric: Metric) -> float:
        """The tolerated excess of a metric's bad rate."""
        margin: float = getattr(self, f"{metric.value}_margin")
        return margin

    def judged_for_promotion(self, metric: Metric) -> bool:
        """Whether a promotion waits for this metric."""
        return self.margin(metric) < HARM_ONLY

"""When to retrain: thresholds and windows. All are launch-plan inputs, so a change makes a new version of the plan.

A statistical rule bounds the expected number of false alarms a year that it raises while nothing changes. Every slice
and window gets its share of them (Bonferroni), and each check a level that gives this many distinct alarms
(``rates.level``): more frequent checks are stricter ones.
"""

from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum

YEAR = timedelta(days=365)


class Trigger(Enum):
    """What may start a retraining."""

    SCHEDULE = "schedule"
    VOLUME = "volume"
    ERROR_RATE = "error_rate"
    DRIFT = "drift"
    FEEDBACK = "feedback"
    HAND = "hand"
    RETENTION = "retention"
    """Rows that the version in production was trained on are past their retention: it is replaced, without a rule."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ScheduleRule:
    """Retrain when the last training is old and there are new rows."""

    days: float = 7.0
    """Since the data cut of the last completed training, and also since its end: rows that arrive late are older."""

    def __post_init__(self) -> None:
        if self.days <= 0:
            raise ValueError(f"days must be above 0, not {self.days}")


@dataclass(frozen=True, kw_only=True, slots=True)
class VolumeRule:
    """Retrain when there are many new rows."""

    new_interactions: int = 10_000
    """More rows than this since the snapshot of the last completed training."""

    def __post_init__(self) -> None:
        if self.new_interactions < 1:
            raise ValueError(f"new_interactions must be at least 1, not {self.new_interactions}")


@dataclass(frozen=True, kw_only=True, slots=True)
class ErrorRateRule:
    """Retrain when calls fail more often than at the last training."""

    rise: float = 0.10
    """Smallest relative rise that counts: 0.10 is ten percent."""
    reference_days: int = 28
    """Days before the data cut from which the rate at the last training is taken."""
    windows_days: list[int] = field(default_factory=lambda: [1, 2, 4, 8, 16, 32])
    """Windows up to now that are compared with it; short ones show a sharp rise early, long ones a small rise late."""
    false_alarms_a_year: float = 0.5

    def __post_init__(self) -> None:
        _check(self.rise, self.reference_days, self.false_alarms_a_year)
        if not self.windows_days or sorted(set(self.windows_days)) != self.windows_days or self.windows_days[0] < 1:
            raise ValueError(f"windows_days must be different whole days in rising order, not {self.windows_days}")


@dataclass(frozen=True, kw_only=True, slots=True)
class DriftRule:
    """Retrain when requests, or the features of their users, no longer have the distribution of the training set."""

    sigma: float = 2.0
    """Mean shift of a numeric feature, in standard deviations of the training set."""
    psi: float = 0.25
    """Population stability index (PSI) of a categorical feature. Four equal categories that become one give 1.7. Above
    0.25 the population has changed (Siddiqi 2006, Credit Risk Scorecards, ch. 10)."""
    window_days: int = 1
    """Days up to now that are compared."""
    reference_days: int = 28
    """Days of the training set before its data cut that are the reference."""
    min_clusters: int = 20
    """Least number of users (or agents' hours) that a feature's values come from, in both windows."""
    false_alarms_a_year: float = 0.1

    def __post_init__(self) -> None:
        _check(self.sigma, self.reference_days, self.false_alarms_a_year)
        if self.psi <= 0 or self.window_days < 1 or self.min_clusters < 3:
            raise ValueError(f"DriftRule needs psi > 0, window_days >= 1 and min_clusters >= 3, but is {self}")


@dataclass(frozen=True, kw_only=True, slots=True)
class FeedbackRule:
    """Retrain when users rate answers lower than at the last training."""

    floor: float = 3.5
    """Mean rating of the window out of 5 (bad ratings count 1, good ones 5); the rule fires only below it."""
    window_days: int = 7
    reference_days: int = 28
    """Days before the data cut whose ratings it is compared with."""
    false_alarms_a_year: float = 0.2

    def __post_init__(self) -> None:
        _check(self.window_days, self.reference_days, self.false_alarms_a_year)
        if not 1 < self.floor <= 5:
            raise ValueError(f"floor must be above 1 and at most 5, not {self.floor}")


@dataclass(frozen=True, kw_only=True, slots=True)
class ManualRule:
    """A person asks for a retraining."""

    reason: str
    by: str

    def __post_init__(self) -> None:
        if not self.reason.strip() or not self.by.strip():
            raise ValueError("give a reason and your name (by): both are kept in the model's history")


Rule = ScheduleRule | VolumeRule | ErrorRateRule | DriftRule | FeedbackRule | ManualRule

TRIGGERS: dict[type, Trigger] = {
    ScheduleRule: Trigger.SCHEDULE,
    VolumeRule: Trigger.VOLUME,
    ErrorRateRule: Trigger.ERROR_RATE,
    DriftRule: Trigger.DRIFT,
    FeedbackRule: Trigger.FEEDBACK,
    ManualRule: Trigger.HAND,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class RetryBackoff:
    """How long automatic triggers wait after failed trainings of a model."""

    first_hours: float = 1.0
    """Wait after the first failure; it doubles with each further failure, up to ``longest_hours``."""
    longest_hours: float = 24.0

    def __post_init__(self) -> None:
        if not 0 < self.first_hours <= self.longest_hours:
            raise ValueError(f"RetryBackoff needs 0 < first_hours <= longest_hours, but is {self}")

    def wait(self, failures: int) -> timedelta:
        """The wait after this many failures in a row."""
        doubled = self.first_hours * 2.0 ** min(failures - 1, 60)
        return timedelta(hours=min(doubled, self.longest_hours)) if failures else timedelta(0)


def _check(threshold: float, days: int, false_alarms: float) -> None:
    if threshold <= 0 or days < 1 or not 0 < false_alarms <= 12:
        needed = "a threshold above 0, 1 or more days, and above 0 to 12 false alarms a year"
        raise ValueError(f"a rule needs {needed}, not {threshold}, {days} and {false_alarms}")

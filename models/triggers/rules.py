"""When to retrain: thresholds and windows, each a launch-plan input, so that changing one is a version one can see.

A rule that tests says how many false alarms a year it may raise while nothing changes. Every slice and window gets its
share of that (Bonferroni), and each look a level at which that many distinct alarms come up (``rates.level``), so that
looking more often only makes each look more careful.
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
    """Rows that a live version was trained on are past their retention: it is replaced. No rule, so no decision."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ScheduleRule:
    """Retrain when the newest training is old, and anything is new."""

    days: float = 7.0
    """Since the data cut of the last completed training, and since its end too: data that land late are older."""

    def __post_init__(self) -> None:
        if self.days <= 0:
            raise ValueError(f"days must be above 0, not {self.days}")


@dataclass(frozen=True, kw_only=True, slots=True)
class VolumeRule:
    """Retrain when much is new."""

    new_interactions: int = 10_000
    """More rows than this since the snapshot of the last completed training."""

    def __post_init__(self) -> None:
        if self.new_interactions < 1:
            raise ValueError(f"new_interactions must be at least 1, not {self.new_interactions}")


@dataclass(frozen=True, kw_only=True, slots=True)
class ErrorRateRule:
    """Retrain when calls fail more often than at the last training."""

    rise: float = 0.10
    """Relative rise that matters: 0.10 is ten percent."""
    reference_days: int = 28
    """Days before the cut that the rate at the last training is taken from."""
    windows_days: list[int] = field(default_factory=lambda: [1, 2, 4, 8, 16, 32])
    """Windows up to now that are compared with it; short ones see a sharp rise soon, long ones a small one at last."""
    false_alarms_a_year: float = 0.5
    """Bound on the expected number."""

    def __post_init__(self) -> None:
        _check(self.rise, self.reference_days, self.false_alarms_a_year)
        if not self.windows_days or sorted(set(self.windows_days)) != self.windows_days or self.windows_days[0] < 1:
            raise ValueError(f"windows_days must be whole days in rising order, not {self.windows_days}")


@dataclass(frozen=True, kw_only=True, slots=True)
class DriftRule:
    """Retrain when what the model is asked, or knows about who asks, is no longer what it was trained on."""

    sigma: float = 2.0
    """Standardized mean shift of a numeric feature: in standard deviations of the training set."""
    psi: float = 0.25
    """Population stability index of a categorical feature. Shares have no sigma: of four equal ones, all turning into
    one is a shift of 1.7. Above 0.25 the population has changed (Siddiqi 2006, Credit Risk Scorecards, ch. 10)."""
    window_days: int = 1
    """Days up to now that are compared."""
    reference_days: int = 28
    """Of the training set, the days before its cut that count."""
    min_clusters: int = 20
    """Users (or agents' hours) that a feature's values must come from at least, in both windows."""
    false_alarms_a_year: float = 0.1
    """Bound on the expected number."""

    def __post_init__(self) -> None:
        _check(self.sigma, self.reference_days, self.false_alarms_a_year)
        if self.psi <= 0 or self.window_days < 1 or self.min_clusters < 3:
            raise ValueError(f"psi > 0, window_days >= 1 and min_clusters >= 3 do not hold for {self}")


@dataclass(frozen=True, kw_only=True, slots=True)
class FeedbackRule:
    """Retrain when users are less content than at the last training."""

    floor: float = 3.5
    """Mean rating of the window, of 5, thumbs counted as 1 and 5; only below it there is cause."""
    window_days: int = 7
    reference_days: int = 28
    """Days before the cut whose ratings it is compared with."""
    false_alarms_a_year: float = 0.2
    """Bound on the expected number."""

    def __post_init__(self) -> None:
        _check(self.window_days, self.reference_days, self.false_alarms_a_year)
        if not 1 < self.floor <= 5:
            raise ValueError(f"floor lies above 1 and up to 5, not {self.floor}")


@dataclass(frozen=True, kw_only=True, slots=True)
class HandRule:
    """A person says so."""

    reason: str
    by: str

    def __post_init__(self) -> None:
        if not self.reason.strip() or not self.by.strip():
            raise ValueError("say why (reason) and who you are (by): both go into the model's history")


Rule = ScheduleRule | VolumeRule | ErrorRateRule | DriftRule | FeedbackRule | HandRule

TRIGGERS: dict[type, Trigger] = {
    ScheduleRule: Trigger.SCHEDULE,
    VolumeRule: Trigger.VOLUME,
    ErrorRateRule: Trigger.ERROR_RATE,
    DriftRule: Trigger.DRIFT,
    FeedbackRule: Trigger.FEEDBACK,
    HandRule: Trigger.HAND,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Patience:
    """How a model's triggers bear with failed trainings."""

    first_hours: float = 1.0
    """Wait after the first failure; it doubles with each further one."""
    longest_hours: float = 24.0

    def __post_init__(self) -> None:
        if not 0 < self.first_hours <= self.longest_hours:
            raise ValueError(f"0 < first_hours <= longest_hours does not hold for {self}")

    def wait(self, failures: int) -> timedelta:
        """How long to wait after so many failures in a row."""
        doubled = self.first_hours * 2.0 ** min(failures - 1, 60)
        return timedelta(hours=min(doubled, self.longest_hours)) if failures else timedelta(0)


def looks(every: timedelta) -> float:
    """Looks a year at this interval."""
    return YEAR / every


def _check(threshold: float, days: int, false_alarms: float) -> None:
    if threshold <= 0 or days < 1 or not 0 < false_alarms <= 12:
        raise ValueError(
            f"threshold above 0, whole days and 0 to 12 false alarms a year are asked for, not {threshold}, {days}, "
            f"{false_alarms}"
        )

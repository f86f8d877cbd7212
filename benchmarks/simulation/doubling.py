"""How soon is a doubled error rate detected? Many repetitions per baseline, each compared with its prediction.

Only the error rule is checked, through ``models.triggers.findings.find``: the decision does not change the result.
Meanwhile the model is trained every week, on a random day. At low baselines some hourly checks are left out, which can
only make a delay longer.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from benchmarks.simulation.history import SimulatedHistory
from benchmarks.simulation.play import LAG
from benchmarks.simulation.world import Recipe, failing, instant, seconds, steady
from models.registry.state import Training
from models.triggers.findings import find
from models.triggers.rules import ErrorRateRule
from models.triggers.window import FindingStatus, RuleCheck, RuleFinding

BASELINES = (5, 10, 20, 50, 100, 200)
"""Errors a day before the change."""
BEFORE_DAYS, AFTER_DAYS = 105, 34
ERROR_RATE = 0.05
RULE = ErrorRateRule()
EVERY = timedelta(hours=1)
MAX_CHECKS = 100
"""The most checks after a change, besides the hourly ones of the first day."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Doubled:
    """One repetition."""

    predicted_days: float
    """As predicted by the last check before the change; infinite if no window would detect it."""
    delay_hours: float
    """From the change to the check that fired; infinite if none did."""

    @property
    def in_time(self) -> bool:
        """Whether the prediction held."""
        return self.delay_hours <= self.predicted_days * 24


@dataclass(frozen=True, kw_only=True, slots=True)
class Baseline:
    """All repetitions of one baseline."""

    errors_a_day: float
    spread: float
    repeated: Sequence[Doubled]

    @property
    def within_a_day(self) -> float:
        """The share that was detected within 24 hours."""
        return float(np.mean([run.delay_hours <= 24 for run in self.repeated]))

    @property
    def as_predicted(self) -> float:
        """The share that was detected within the predicted delay, of those with a prediction."""
        in_time = [run.in_time for run in self.repeated if math.isfinite(run.predicted_days)]
        return float(np.mean(in_time)) if in_time else math.nan


def doubled(errors_a_day: float, repetitions: int, *, spread: float = 0.0) -> Baseline:
    """Double the error rate in every repetition."""
    found = [_once(errors_a_day, spread, seed) for seed in range(repetitions)]
    return Baseline(errors_a_day=errors_a_day, spread=spread, repeated=found)


def _once(errors_a_day: float, spread: float, seed: int) -> Doubled:
    rng = np.random.default_rng([seed, int(errors_a_day)])
    recipe = Recipe(
        days=BEFORE_DAYS + AFTER_DAYS,
        seed=int(rng.integers(1 << 31)),
        daily_calls=errors_a_day / ERROR_RATE,
        error_rate=ERROR_RATE,
        error_spread=spread,
    )
    change = BEFORE_DAYS * 24 - int(rng.integers(0, 7 * 24))
    trained = change - int(rng.integers(1, 7 * 24))
    traffic = failing(steady(recipe), 2.0, change / 24, seed=seed)
    now = [instant(0)]
    history = SimulatedHistory(traffic, lambda: now[0])

    def check(hour: int) -> RuleFinding:
        cut = trained + max(0, hour - 1 - trained) // (7 * 24) * 7 * 24
        end = instant(hour * 3600)
        now[0] = end + LAG
        return find(RULE, history, RuleCheck(end=end, interval=EVERY, last_training=_training(instant(cut * 3600))))

    before = check(change)
    predicted = before.evidence["sight"]["days_to_doubled"] or math.inf
    step = max(1, round(min(predicted, AFTER_DAYS - 1) * 24 / MAX_CHECKS))
    hours = [*range(1, 25), *range(24 + step, int(min(predicted, AFTER_DAYS - 1) * 24) + 1, step)]
    fired = (hour for hour in hours if check(change + hour).status is FindingStatus.FIRED)
    return Doubled(predicted_days=predicted, delay_hours=next(fired, math.inf))


def _training(cut: datetime) -> Training:
    pinned = f"processed.agent_interactions@{int(seconds(cut))}"
    return Training(cut=cut, training_set_id=cut.isoformat(), inputs=(pinned,))

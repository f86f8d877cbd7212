"""Compare the rates of bad events in windows with those of their references, at levels that bound the false alarms.

Checks whose windows overlap are strongly correlated, and their alarms come in clusters: the first one starts a
training, the others repeat it. The number of clusters is what is bounded.
"""

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np

from models.triggers.counts import ALL, DAY, DispersionEstimate, HourlyCounts, Rate, total
from models.triggers.rules import YEAR
from models.triggers.significance import dispersion_weights, p_values

SLICE_SHARE, WINDOW_SHARE = 0.9, 0.9
"""Shares of the false alarms that the slice of all agents and the shortest window get; the rest is divided evenly. Most
incidents concern all agents and are sudden, and should be detected first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RateComparison:
    """One slice in one window, compared with the reference."""

    slice: str
    days: float
    reference: Rate
    current: Rate
    dispersion: DispersionEstimate
    level: float
    p_value: float
    """Probability of a count this high if the rate were unchanged."""

    @property
    def rise(self) -> float:
        """Relative rise; infinite where nothing was bad before."""
        before, now = self.reference.value, self.current.value
        return now / before - 1 if before else math.inf if now else 0.0

    def fires(self, rise: float) -> bool:
        """Whether it rose by more than ``rise``, significantly."""
        return self.rise > rise and self.p_value < self.level


@dataclass(frozen=True, kw_only=True, slots=True)
class ReferenceWindow:
    """The time that a window is compared with; the days from ``dispersion_start`` on estimate the dispersion."""

    start: datetime
    end: datetime
    dispersion_start: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class FalseAlarmBudget:
    """The bound on false alarms a year, and how it is divided."""

    false_alarms: float
    interval: timedelta
    """From one check to the next."""
    windows: tuple[timedelta, ...]
    """All windows of the rule, also those for which there are too few data yet."""
    reference: timedelta

    def level(self, window: timedelta, share: float = 1.0) -> float:
        """Significance level of a slice that gets this share of its window's alarms."""
        first, count = window == self.windows[0], len(self.windows)
        part = 1.0 if count == 1 else WINDOW_SHARE if first else (1 - WINDOW_SHARE) / (count - 1)
        return level(self.false_alarms * part * share, window, self.interval, self.reference)


@functools.cache
def level(alarms: float, window: timedelta, interval: timedelta, reference: timedelta) -> float:
    """Significance level of one check at which sliding windows raise ``alarms`` clusters of alarms a year.

    It is never below the level for independent checks. A sum over a sliding window is nearly Gaussian, with a
    correlation that falls linearly to 0 over the window's length; at z standard deviations it has
    z phi(z) v(z sqrt(2 interval / window)) clusters a window, and v(x) is about exp(-0.583 x) (Siegmund 1985,
    Sequential Analysis, sections 4.2 and 10.2). Where a reference right before the window slides along, the difference
    of the two decorrelates faster, by (1 + r + r^2) / (1 + r) for a ratio r of lengths.
    """
    from scipy.special import ndtr

    ratio = window / reference
    faster = (1 + ratio + ratio**2) / (1 + ratio)
    per_window = min(alarms * (window / YEAR) / faster, 0.05)  # the approximation holds in the tail only
    step = 0.583 * math.sqrt(2 * min(interval / window, 1.0))
    z = 3.5
    for _ in range(20):  # Newton, in logarithms
        excess = math.log(z) - z * z / 2 - math.log(2 * math.pi) / 2 - step * z - math.log(per_window)
        z = max(1.0, z + excess / (z + step - 1 / z / 2))
    return max(alarms * (interval / YEAR), float(ndtr(-z)))


def compare(
    counts: HourlyCounts,
    end: datetime,
    references: Mapping[timedelta, ReferenceWindow],
    budget: FalseAlarmBudget,
    *,
    sliced: bool = True,
) -> list[RateComparison]:
    """Compare every slice in every window that ends at ``end``; empty where the references have no calls.

    Args:
        counts: of the windows and their references. Agents without calls in the reference are left out.
        end: end of the windows (UTC).
        references: the windows for which there are enough data, in rising order, each with its reference.
        budget: the false alarms of all comparisons together.
        sliced: compare each agent, too, not only all together.

    Returns:
        The shortest window first, and in each window the overall slice first.
    """
    parts = []
    for window, reference in references.items():
        if not (before := counts.rates(reference.start, reference.end)):
            continue
        now = {name: rate for name, rate in counts.rates(end - window, end).items() if name in before}
        dispersions = counts.dispersions(reference.dispersion_start, reference.end)
        agents = sorted(before) if sliced else []
        share = (1 - SLICE_SHARE) / max(len(agents), 1)
        slices = [(ALL, _standardized(before, now), total(now), SLICE_SHARE if agents else 1.0)]
        slices += [(name, before[name], now.get(name, Rate(calls=0, bad=0)), share) for name in agents]
        parts += [
            RateComparison(
                slice=name,
                days=window / DAY,
                reference=reference_rate,
                current=current,
                dispersion=dispersions.get(name, DispersionEstimate()),
                level=budget.level(window, own_share),
                p_value=1.0,
            )
            for name, reference_rate, current, own_share in slices
        ]
    if not parts:
        return []
    phi, weight = dispersion_weights([part.dispersion for part in parts])
    reference_rates = np.array([part.reference for part in parts])
    found = p_values(phi, weight, reference_rates, np.array([part.current for part in parts]))
    return [replace(part, p_value=float(p_value)) for part, p_value in zip(parts, found, strict=True)]


def _standardized(reference: dict[str, Rate], current: dict[str, Rate]) -> Rate:
    """The reference's rate for the current mix of agents, with a number of calls that gives its true uncertainty.

    Where an agent that fails more often gets more of the traffic, the overall rate rises although nothing got worse.
    """
    calls = total(current).calls
    weights = {name: rate.calls / calls for name, rate in current.items() if name in reference} if calls else {}
    known = sum(weights.values())
    if not known:
        return total(reference)
    rate = sum(weight / known * reference[name].value for name, weight in weights.items())
    variance = sum((w / known) ** 2 * reference[name].bad / reference[name].calls ** 2 for name, w in weights.items())
    effective_calls = rate / variance if variance else total(reference).calls
    return Rate(calls=effective_calls, bad=rate * effective_calls)

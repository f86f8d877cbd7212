"""Test whether a rate of bad events has risen: exact for small counts, with the uncertainty of the reference included.

The current count is compared given the reference's: if both times have one rate, it is negative binomial. This is the
conditional binomial test of two Poisson rates (Przyborowski and Wilenski 1940, Biometrika 31(3/4)) in another form,
which takes a dispersion without change (McCullagh and Nelder 1989, section 6.2.3). The dispersion is estimated, after
an incident from few days, so the p-value is averaged over its possible values: a test that uses the estimate as if it
were exact raises ten times the false alarms that it promises.

Checks whose windows overlap are strongly correlated, and their alarms come in clusters: the first one starts a
training, the others repeat it. The number of clusters is what is bounded.
"""

import functools
import math
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated

import numpy as np
from pydantic import Field

from models.triggers.counts import ALL, DAY, DispersionEstimate, HourlyCounts, Rate, total

POWER = 0.95
"""Power at which a rise counts as detectable, and for which detection delays are given."""
DOUBLED, EVEN = 2.0, 0.5
SLICE_SHARE, WINDOW_SHARE = 0.9, 0.9
"""Shares of the false alarms that the slice of all agents and the shortest window get; the rest is divided evenly. Most
incidents concern all agents and are sudden, and should be detected first."""
YEAR = timedelta(days=365)
DISPERSIONS = np.geomspace(1, 64, 20)
"""Possible values of the dispersion. Its prior probability to be above x is 1/x."""
RISES = np.concatenate([np.arange(0.02, 1, 0.02), np.geomspace(1, 1000, 80)])
"""Relative rises among which the minimum detectable one is searched."""


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
    """The time that a window is compared with."""

    start: datetime
    end: datetime
    dispersion_start: datetime
    """Days from here to ``end`` estimate the dispersion."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FalseAlarmBudget:
    """The bound on false alarms a year, and how it is divided."""

    false_alarms: float
    interval: timedelta
    """From one check to the next."""
    windows: tuple[timedelta, ...]
    """All windows of the rule, also those for which there are too few data yet."""
    reference: timedelta
    """Length of the reference."""

    def level(self, window: timedelta, share: float = 1.0) -> float:
        """Significance level of a slice that gets this share of its window's alarms."""
        first, count = window == self.windows[0], len(self.windows)
        part = 1.0 if count == 1 else WINDOW_SHARE if first else (1 - WINDOW_SHARE) / (count - 1)
        return level(self.false_alarms * part * share, window, self.interval, self.reference)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sensitivity:
    """What the test can detect at the present traffic."""

    minimum_detectable_effect: Annotated[float, Field(alias="smallest_rise")]
    """Smallest relative rise that the shortest window detects with power 0.95; infinite where it detects none."""
    days_to_detect_doubling: Annotated[float, Field(alias="days_to_doubled")]
    """Days until a doubled rate is detected with power 0.95; infinite where no window detects it."""


@functools.cache
def level(alarms: float, window: timedelta, interval: timedelta, reference: timedelta) -> float:
    """Significance level of one check at which sliding windows raise ``alarms`` clusters of alarms a year.

    It is never below the level for independent checks. A sum over a sliding window is nearly Gaussian, with a
    correlation that falls linearly to 0 over the window's length; at z standard deviations it has
    z phi(z) v(z sqrt(2 interval / window)) clusters a window, and v(x) is about exp(-0.583 x) (Siegmund 1985,
    Sequential Analysis, sections 4.2 and 10.2). Where a reference right before the window slides along, the difference
    of the two decorrelates faster, by (1 + r + r^2) / (1 + r) for a ratio r of lengths.

    Args:
        alarms: clusters of false alarms a year.
        window: length of the window.
        interval: time between two checks.
        reference: length of the reference.
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


def p_value_of_more(reference: Rate, current: Rate, dispersion: DispersionEstimate | None = None) -> float:
    """One-sided p-value: the probability of at least the current count, given the reference's, if both have one rate.

    Without a dispersion the counts are Poisson, and the test is exact.
    """
    if not current.bad or not current.calls or not reference.calls:
        return 1.0
    phi, weight = (np.ones(1), np.ones(1)) if dispersion is None else _dispersion_weights([dispersion])
    return float(_p_values(phi, weight, *(np.array([x]) for x in (_pair(reference), _pair(current)))).item())


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
    pending: list[tuple[str, timedelta, Rate, Rate, DispersionEstimate, float]] = []
    estimates: dict[tuple[datetime, datetime], dict[str, DispersionEstimate]] = {}
    for window, reference in references.items():
        if not (before := counts.rates(reference.start, reference.end)):
            continue
        now = {name: rate for name, rate in counts.rates(end - window, end).items() if name in before}
        days = (reference.dispersion_start, reference.end)
        dispersions = estimates.setdefault(days, counts.dispersions(*days))
        agents = sorted(before) if sliced else []
        share = SLICE_SHARE if agents else 1.0
        pair = (standardized_reference(before, now), total(now))
        pending.append((ALL, window, *pair, dispersions.get(ALL, DispersionEstimate()), budget.level(window, share)))
        for name in agents:
            agent_share = (1 - SLICE_SHARE) / len(agents)
            pair = (before[name], now.get(name, Rate(calls=0, bad=0)))
            pending.append(
                (name, window, *pair, dispersions.get(name, DispersionEstimate()), budget.level(window, agent_share))
            )
    if not pending:
        return []
    phi, weight = _dispersion_weights([part[4] for part in pending])
    sides = (np.array([_pair(part[i]) for part in pending]) for i in (2, 3))  # type: ignore[arg-type]
    p_values = _p_values(phi, weight, *sides)
    return [
        RateComparison(
            slice=name,
            days=window / DAY,
            reference=before,
            current=now,
            dispersion=dispersion,
            level=limit,
            p_value=float(p_value),
        )
        for (name, window, before, now, dispersion, limit), p_value in zip(pending, p_values, strict=True)
    ]


def standardized_reference(reference: dict[str, Rate], current: dict[str, Rate]) -> Rate:
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


def detects_doubling(compared: Sequence[RateComparison]) -> bool:
    """Whether one of these windows, with its calls, detects a doubled rate with power 0.5 or more."""
    power = _powers(compared, [part.current.calls for part in compared], [part.level for part in compared])
    return bool((power(DOUBLED) >= EVEN).any())


def sensitivity(compared: Sequence[RateComparison], daily_calls: float, budget: FalseAlarmBudget) -> Sensitivity:
    """What the test of all agents together can detect.

    Args:
        compared: from ``compare``.
        daily_calls: the present traffic.
        budget: of the rule.
    """
    first = next(part for part in compared if part.slice == ALL)
    share = 1.0 if all(part.slice == ALL for part in compared) else SLICE_SHARE
    days = [window / DAY for window in budget.windows]
    levels = [budget.level(window, share) for window in budget.windows]
    power = _powers([first] * len(days), [daily_calls * count for count in days], levels)
    index = bisect_left(RISES, POWER, key=lambda rise: power(1 + rise)[0])
    smallest = float(RISES[index]) if index < len(RISES) else math.inf
    return Sensitivity(
        minimum_detectable_effect=smallest if (1 + smallest) * first.reference.value <= 1 else math.inf,
        days_to_detect_doubling=next(
            (n for n, own in zip(days, power(DOUBLED), strict=True) if own >= POWER), math.inf
        ),
    )


def _powers(
    compared: Sequence[RateComparison], calls: Sequence[float], levels: Sequence[float]
) -> Callable[[float], np.ndarray]:
    """For each comparison the power of ``calls`` at a multiple of the reference's rate: the probability to detect it.

    It includes the uncertainty of the reference's rate and of its dispersion.
    """
    from scipy.special import betainc

    phi, weight = _dispersion_weights([part.dispersion for part in compared])
    reference, current = np.array([_pair(part.reference) for part in compared]), np.array(calls, float)
    critical = _critical(phi, weight, reference, current, np.array(levels))
    known, expected = reference[:, 1], current * reference[:, 1] / np.maximum(reference[:, 0], 1)

    def power(factor: float) -> np.ndarray:
        size = np.maximum(known[:, None], 1e-9) / phi
        mean = factor * expected[:, None] / phi
        result: np.ndarray = (weight * betainc(critical[:, None] / phi, size, mean / (mean + size))).sum(axis=1)
        return np.where((known > 0) & (critical < current), result, 0.0)

    return power


def _critical(
    phi: np.ndarray, weight: np.ndarray, reference: np.ndarray, calls: np.ndarray, levels: np.ndarray
) -> np.ndarray:
    """For each comparison the smallest significant count, by bisection on a logarithmic scale."""
    expected = calls * reference[:, 1] / np.maximum(reference[:, 0], 1)
    low, high = np.maximum(expected, 0.5), np.maximum(calls, 1.0)
    for _ in range(14):
        middle = np.sqrt(low * high)
        p_values = _p_values(phi, weight, reference, np.stack([calls, middle], axis=1))
        low, high = np.where(p_values < levels, low, middle), np.where(p_values < levels, middle, high)
    return high


def _dispersion_weights(estimates: Sequence[DispersionEstimate]) -> tuple[np.ndarray, np.ndarray]:
    """Possible dispersions [1, values] and the posterior weight of each, by estimate [estimates, values].

    Pearson's statistic divided by the dispersion is chi-square.
    """
    statistic, degrees = (
        np.array([getattr(part, name) for part in estimates], float)[:, None]
        for name in ("statistic", "degrees_of_freedom")
    )
    top = float(np.max(statistic / np.maximum(degrees, 1)))
    phi = DISPERSIONS if top < 16 else np.geomspace(1, 4 * top, len(DISPERSIONS))
    logs = -(1 + degrees / 2) * np.log(phi) - statistic / 2 / phi
    weight = np.exp(logs - logs.max(axis=1, keepdims=True))
    weight[:, [0, -1]] /= 2
    return phi[None, :], weight / weight.sum(axis=1, keepdims=True)


def _p_values(phi: np.ndarray, weight: np.ndarray, reference: np.ndarray, current: np.ndarray) -> np.ndarray:
    """``p_value_of_more`` of each row of (calls, bad), averaged over the dispersions.

    A share, bounded by 1, varies less than a count; counts are divided by that factor.
    """
    from scipy.special import betainc

    (calls_before, bad_before), (calls, bad) = reference.T, current.T
    scale = np.maximum(1 - (bad_before + bad) / np.maximum(calls_before + calls, 1), 1e-3)
    ratio = (calls / np.maximum(calls_before, 1e-9))[:, None]
    varies = phi * (1 + ratio)
    size = (bad_before / scale + 1)[:, None] * ratio / np.maximum(varies - 1, 1e-12)
    result: np.ndarray = (weight * betainc(np.maximum(bad / scale, 1e-9)[:, None], size, 1 - 1 / varies)).sum(axis=1)
    return np.where((bad > 0) & (calls > 0) & (calls_before > 0), result, 1.0)


def _pair(rate: Rate) -> tuple[float, float]:
    return rate.calls, rate.bad

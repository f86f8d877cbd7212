"""What the test of an error rate can detect: the smallest rise, and how long a doubled rate takes."""

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from models.triggers.counts import ALL, DAY
from models.triggers.rates import SLICE_SHARE, FalseAlarmBudget, RateComparison
from models.triggers.significance import dispersion_weights, p_values

POWER = 0.95
"""Power at which a rise counts as detectable, and for which detection delays are given."""
RISES = np.concatenate([np.arange(0.02, 1, 0.02), np.geomspace(1, 1000, 80)])
"""Relative rises among which the minimum detectable one is searched."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sensitivity:
    """What the test can detect at the present traffic."""

    minimum_detectable_effect: Annotated[float, Field(alias="smallest_rise")]
    """Smallest relative rise that the shortest window detects with power 0.95; infinite where it detects none."""
    days_to_detect_doubling: Annotated[float, Field(alias="days_to_doubled")]
    """Days until a doubled rate is detected with power 0.95; infinite where no window detects it."""


def detects_doubling(compared: Sequence[RateComparison]) -> bool:
    """Whether one of these windows, with its calls, detects a doubled rate with power 0.5 or more."""
    power = _powers(compared, [part.current.calls for part in compared], [part.level for part in compared])
    return bool((power(2.0) >= 0.5).any())


def sensitivity(compared: Sequence[RateComparison], daily_calls: float, budget: FalseAlarmBudget) -> Sensitivity:
    """What the test of all agents together can detect at ``daily_calls``; ``compared`` is from ``rates.compare``."""
    first = next(part for part in compared if part.slice == ALL)
    share = 1.0 if all(part.slice == ALL for part in compared) else SLICE_SHARE
    days = [window / DAY for window in budget.windows]
    levels = [budget.level(window, share) for window in budget.windows]
    power = _powers([first] * len(days), [daily_calls * count for count in days], levels)
    index = bisect_left(RISES, POWER, key=lambda rise: power(1 + rise)[0])
    smallest = float(RISES[index]) if index < len(RISES) else math.inf
    detecting = (n for n, own in zip(days, power(2.0), strict=True) if own >= POWER)
    return Sensitivity(
        minimum_detectable_effect=smallest if (1 + smallest) * first.reference.value <= 1 else math.inf,
        days_to_detect_doubling=next(detecting, math.inf),
    )


def _powers(
    compared: Sequence[RateComparison], calls: Sequence[float], levels: Sequence[float]
) -> Callable[[float], np.ndarray]:
    """For each comparison the power of ``calls`` at a multiple of the reference's rate: the probability to detect it.

    It includes the uncertainty of the reference's rate and of its dispersion.
    """
    from scipy.special import betainc

    phi, weight = dispersion_weights([part.dispersion for part in compared])
    reference, current = np.array([part.reference for part in compared]), np.array(calls, float)
    known = reference[:, 1]
    expected = current * known / np.maximum(reference[:, 0], 1)
    low, critical = np.maximum(expected, 0.5), np.maximum(current, 1.0)
    for _ in range(14):  # to the smallest significant count, by bisection on a logarithmic scale
        middle = np.sqrt(low * critical)
        significant = p_values(phi, weight, reference, np.stack([current, middle], axis=1)) < np.array(levels)
        low, critical = np.where(significant, low, middle), np.where(significant, middle, critical)

    def power(factor: float) -> np.ndarray:
        size = np.maximum(known[:, None], 1e-9) / phi
        mean = factor * expected[:, None] / phi
        result: np.ndarray = (weight * betainc(critical[:, None] / phi, size, mean / (mean + size))).sum(axis=1)
        return np.where((known > 0) & (critical < current), result, 0.0)

    return power

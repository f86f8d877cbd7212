"""What a canary has counted: its rows, and the few sums of them that every look needs.

Candidate and stable are compared within short stretches of time and the differences are added up (Mantel-Haenszel), so
that a trend, a daily cycle or an outage of both arms cannot pass for a difference: a stretch has about a hundred rows,
and none lies across two steps. Users stay with their arm, so the chance in the sum is the chance of the *assignment of
users*, not of requests; hence the totals by user and step.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

STRETCH_ROWS = 100
"""Rows after which a stretch of time ends: a hundredth of the information goes to its own mean rate."""
STRETCH_LEAST_ROWS = 20
STRETCH_US = 3_600_000_000
"""An hour: a stretch that has lasted this long ends with its twentieth row."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """Rows of one metric: every interaction that both arms could have got right or wrong. A column an attribute."""

    time: Ints
    """Microseconds since 1970, of the request."""
    unit: NDArray[np.int64] | NDArray[np.str_] | NDArray[np.object_]
    """Who is on one arm throughout: the pseudonym of ``serving.routing.split.unit_of``, or any codes of it."""
    candidate: Bools
    bad: Bools
    widened: Sequence[int] = ()
    """Instants, in microseconds, at which the second share and each later one took effect."""

    def __post_init__(self) -> None:
        lengths = {len(self.time), len(self.unit), len(self.candidate), len(self.bad)}
        if len(lengths) != 1:
            raise ValueError(f"the columns must be of one length, not {sorted(lengths)}")

    def __len__(self) -> int:
        return len(self.time)


@dataclass(frozen=True, kw_only=True, slots=True)
class Totals:
    """Sums over the stretches of time, by the steps that have begun."""

    difference: Floats
    """[steps] Σ w·(candidate's bad rate - stable's), where w = n₁n₀/(n₁+n₀) of the stretch."""
    weight: Floats
    """[steps] Σ w."""
    stable_weight: Floats
    """[steps] Σ w·n₀/(n₁+n₀)."""
    level: Floats
    """[steps] Σ w·(bad rate of both arms)."""
    squares: Floats
    """[steps] Σ of (bad - rate of the stretch)² over the rows."""
    residual: Floats
    """[users, steps] Σ of bad - rate of the stretch."""
    side: Floats
    """[users, steps] Σ of candidate - its share in the stretch: how a difference of the arms moves the residual."""


def totals_of(evidence: Evidence) -> Totals:
    """Add up the rows, in whatever order they are."""
    steps = len(evidence.widened) + 1
    order = np.argsort(evidence.time, kind="stable")
    time, candidate, bad = evidence.time[order], evidence.candidate[order], evidence.bad[order]
    users, user = np.unique(evidence.unit[order], return_inverse=True)
    starts = strata(time, evidence.widened)
    stretch = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(time))))
    n, n1, bads, bads1 = (
        _sums(stretch, values, len(starts)) for values in (np.ones(len(time)), candidate, bad, bad & candidate)
    )
    share, rate = n1 / n, bads / n
    weight = n1 * (1 - share)
    step_of = np.searchsorted(np.asarray(evidence.widened, np.int64), time[starts], side="right")
    residual, side = bad - rate[stretch], candidate - share[stretch]
    cell, cells = user * steps + step_of[stretch], len(users) * steps
    return Totals(
        difference=_sums(step_of, bads1 - share * bads, steps),
        weight=_sums(step_of, weight, steps),
        stable_weight=_sums(step_of, weight * (1 - share), steps),
        level=_sums(step_of, weight * rate, steps),
        squares=_sums(step_of[stretch], residual**2, steps),
        residual=_sums(cell, residual, cells).reshape(-1, steps),
        side=_sums(cell, side, cells).reshape(-1, steps),
    )


def _sums(where: Ints, values: Floats | Bools, size: int) -> Floats:
    return np.bincount(where, values, minlength=size).astype(np.float64)


def numbered(evidence: Evidence) -> Evidence:
    """The same rows with integers for the users: to sort a hundred thousand pseudonyms takes a second."""
    numbers: dict[object, int] = {}
    codes = [numbers.setdefault(unit, len(numbers)) for unit in evidence.unit.tolist()]
    return replace(evidence, unit=np.array(codes, np.int64))


def strata(time: Ints, widened: Sequence[int] = ()) -> Ints:
    """Where each stretch of time begins; rows of one instant are never parted.

    Args:
        time: sorted.
        widened: instants at which a stretch ends in any case.
    """
    borders = [*np.searchsorted(time, np.asarray(widened, np.int64), side="left"), len(time)]
    starts, begin = [], 0
    for border in borders:
        while begin < border:
            starts.append(begin)
            begin = min(_end(time, begin), border)
    return np.array(starts, np.int64)


def _end(time: Ints, begin: int) -> int:
    hour = int(np.searchsorted(time, time[begin] + STRETCH_US, side="left"))
    end = min(begin + STRETCH_ROWS, max(begin + STRETCH_LEAST_ROWS, hour))
    return int(np.searchsorted(time, time[end - 1], side="right")) if end <= len(time) else len(time)

"""The rows that a canary has observed, stratified by time, and the sums of them that every interim analysis needs.

Candidate and stable version are compared within short strata of time and the differences are added up
(Mantel-Haenszel), so that a trend, a daily cycle or an outage of both arms cannot pass for a difference: a stratum has
about a hundred rows, and none spans two steps. Users stay on their arm, so what is random in the sum is the
*assignment of users*, not of requests; hence the totals by user and step.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

STRATUM_ROWS = 100
"""Rows after which a stratum ends: a hundredth of the information is spent on its own mean rate."""
MIN_STRATUM_ROWS = 20
STRATUM_US = 3_600_000_000
"""An hour: a stratum that has lasted this long ends with its twentieth row."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """Rows of one metric: every interaction that has an outcome in it, a column an attribute."""

    time: Ints
    """Microseconds since 1970, of the request."""
    unit: Ints
    """Any codes of what stays on one arm throughout, a user as a rule: of ``serving.routing.split.unit_of``."""
    candidate: Bools
    bad: Bools
    widened: Sequence[int] = ()
    """Instants, in microseconds, at which the second share and each later one took effect."""

    def __post_init__(self) -> None:
        lengths = {len(self.time), len(self.unit), len(self.candidate), len(self.bad)}
        if len(lengths) != 1:
            raise ValueError(f"the columns must have the same length, not {sorted(lengths)}")

    def __len__(self) -> int:
        return len(self.time)


@dataclass(frozen=True, kw_only=True, slots=True)
class StratifiedSums:
    """Sums over the strata, by the steps that have begun."""

    difference: Floats
    """[steps] Σ w·(candidate's bad rate - stable's), where w = n₁n₀/(n₁+n₀) of the stratum."""
    weight: Floats
    """[steps] Σ w."""
    stable_weight: Floats
    """[steps] Σ w·n₀/(n₁+n₀)."""
    level: Floats
    """[steps] Σ w·(bad rate of both arms)."""
    squares: Floats
    """[steps] Σ of (bad - rate of the stratum)² over the rows."""
    residual: Floats
    """[users, steps] Σ of bad - rate of the stratum."""
    side: Floats
    """[users, steps] Σ of candidate - its share in the stratum: how a difference of the arms changes the residual."""


def stratified_sums(evidence: Evidence) -> StratifiedSums:
    """Add up the rows; their order does not matter."""
    steps = len(evidence.widened) + 1
    order = np.argsort(evidence.time, kind="stable")
    time, candidate, bad = evidence.time[order], evidence.candidate[order], evidence.bad[order]
    users, user = np.unique(evidence.unit[order], return_inverse=True)
    starts = strata(time, evidence.widened)
    stratum = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(time))))
    n, n1, bads, bads1 = (
        _sums(stratum, values, len(starts)) for values in (np.ones(len(time)), candidate, bad, bad & candidate)
    )
    share, rate = n1 / n, bads / n
    weight = n1 * (1 - share)
    step_of = np.searchsorted(np.asarray(evidence.widened, np.int64), time[starts], side="right")
    residual, side = bad - rate[stratum], candidate - share[stratum]
    cell, cells = user * steps + step_of[stratum], len(users) * steps
    return StratifiedSums(
        difference=_sums(step_of, bads1 - share * bads, steps),
        weight=_sums(step_of, weight, steps),
        stable_weight=_sums(step_of, weight * (1 - share), steps),
        level=_sums(step_of, weight * rate, steps),
        squares=_sums(step_of[stratum], residual**2, steps),
        residual=_sums(cell, residual, cells).reshape(-1, steps),
        side=_sums(cell, side, cells).reshape(-1, steps),
    )


def _sums(group: Ints, values: Floats | Bools, size: int) -> Floats:
    """Sums of the values by group."""
    return np.bincount(group, values, minlength=size).astype(np.float64)


def strata(time: Ints, widened: Sequence[int] = ()) -> Ints:
    """First row of each stratum of the sorted times; one ends in any case at the instants ``widened``.

    Rows of the same instant are never separated.
    """
    borders = [*np.searchsorted(time, np.asarray(widened, np.int64), side="left"), len(time)]
    starts, begin = [], 0
    for border in borders:
        while begin < border:
            starts.append(begin)
            begin = min(_end(time, begin), border)
    return np.array(starts, np.int64)


def _end(time: Ints, begin: int) -> int:
    """End of the stratum that begins at this row."""
    hour = int(np.searchsorted(time, time[begin] + STRATUM_US, side="left"))
    end = min(begin + STRATUM_ROWS, max(begin + MIN_STRATUM_ROWS, hour))
    return int(np.searchsorted(time, time[end - 1], side="right")) if end <= len(time) else len(time)

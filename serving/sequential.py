"""Mixture e-values: evidence against a null that may be looked at after every request.

An e-value is at most 1 on average while its null holds. If it is so at every time at once (a test supermartingale),
its chance of ever reaching 1/α is at most α (Ville 1939), so no look costs anything. Both here weigh exp(λs - K(λ))
over the half-normal prior of Howard, Ramdas, McAuliffe and Sekhon (2021, Annals of Statistics 49(2), Proposition 6,
the one-sided normal mixture); they differ in K, the cumulant function of the sum s under its null: λ²v/2 where s is
taken for normal, and the exact one of a random assignment where few users weigh much.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr, ndtr

Floats = NDArray[np.float64]
POINTS = 24
NARROWEST, WIDEST = 0.03, 4.0
"""Of the prior's grid, in its standard deviations."""


def log_normal_mixture(s: float, v: float, rho: float) -> float:
    """Log of the one-sided normal mixture: √(4ρ/(v+ρ)) · exp(s²/2(v+ρ)) · Φ(s/√(v+ρ)).

    Args:
        s: the sum; evidence when above zero.
        v: its variance under the null.
        rho: precision of the prior on λ. The boundary is tightest where s/v is about 1/√rho.
    """
    spread = v + rho
    return float(0.5 * np.log(4 * rho / spread) + s * s / (2 * spread) + log_ndtr(s / np.sqrt(spread)))


def log_assignment_mixture(s: float, totals: Floats, shares: Floats, rho: float, v: float = 0.0) -> float:
    """Log of the mixture under the exact distribution that a random assignment of the users gives to the sum.

    User i adds ``totals[i, a]`` when his place is in interval ``a``, which has the length ``shares[a]``. At any one
    time its mean is 1 for every set of totals, however much one user outweighs the others.

    Args:
        s: the sum that was seen.
        totals: [users, intervals], of mean zero over the intervals.
        shares: [intervals], which add up to 1.
        rho: precision of the prior on λ.
        v: variance of what else is in the sum and is no wider than a normal of it.
    """
    points, weights = _prior()
    lambdas = points / np.sqrt(rho)
    highest = totals.max(axis=1)
    below = totals - highest[:, None]
    mean = np.zeros((len(totals), len(lambdas)))
    for place, share in enumerate(shares):
        mean += share * np.exp(below[:, place, None] * lambdas)
    cumulant = lambdas * highest.sum() + np.log(mean).sum(axis=0) + lambdas**2 * v / 2
    exponents = lambdas * s - cumulant
    top = exponents.max()
    return float(top + np.log(weights @ np.exp(exponents - top)))


@lru_cache(maxsize=1)
def _prior() -> tuple[Floats, Floats]:
    """The half-normal prior of precision 1 on a geometric grid: any weights that add up to 1 are a valid prior."""
    points = np.geomspace(NARROWEST, WIDEST, POINTS)
    edges = np.concatenate([[0.0], np.sqrt(points[1:] * points[:-1]), [np.inf]])
    return points, np.diff(2 * ndtr(edges) - 1)

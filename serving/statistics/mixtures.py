"""Mixture e-values: evidence against a null hypothesis that may be evaluated after every request.

The mean of an e-value is at most 1 while its null holds. If that is so at every time at once (a test supermartingale),
the probability that it ever reaches 1/α is at most α (Ville 1939), so the number of interim analyses does not matter.
All functions of this module average exp(λs - K(λ)) over a prior on λ; any prior is valid (Robbins 1970, Annals of
Mathematical Statistics 41(5)). They differ in K, the cumulant function of the sum s under its null: λ²v/2 where s is
treated as normal, and the exact one of a random assignment where few users have much of the weight.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammainc, log_ndtr, ndtr

Floats = NDArray[np.float64]
POINTS = 24
NARROWEST, WIDEST = 0.03, 4.0
"""Ends of a prior's grid, in units of its scale."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Prior:
    """Weights on a geometric grid of λ; they add up to 1, so the mixture is exact for this prior."""

    lambdas: Floats
    weights: Floats


def half_normal(rho: float) -> Prior:
    """The prior of the one-sided normal mixture (Howard, Ramdas, McAuliffe and Sekhon 2021, Annals of Statistics
    49(2), Proposition 6), of precision ``rho``.
    """
    return Prior(lambdas=_POINTS / np.sqrt(rho), weights=_HALF_NORMAL)


def gamma(shape: float, mean: float) -> Prior:
    """A prior around one size of effect; its standard deviation is 1/√shape of its mean."""
    return Prior(lambdas=_POINTS * mean, weights=np.diff(gammainc(shape, _EDGES * shape)))


_POINTS = np.geomspace(NARROWEST, WIDEST, POINTS)
_EDGES = np.concatenate([[0.0], np.sqrt(_POINTS[1:] * _POINTS[:-1]), [np.inf]])
_HALF_NORMAL = np.diff(2 * ndtr(_EDGES) - 1)


def log_normal_mixture(s: float, v: float, rho: float) -> float:
    """Log of the one-sided normal mixture: √(4ρ/(v+ρ)) · exp(s²/2(v+ρ)) · Φ(s/√(v+ρ)).

    Args:
        s: the sum; above zero it is evidence against the null.
        v: its variance under the null.
        rho: precision of the half-normal prior on λ. The boundary is tightest where s/v is about 1/√rho.
    """
    spread = v + rho
    return float(0.5 * np.log(4 * rho / spread) + s * s / (2 * spread) + log_ndtr(s / np.sqrt(spread)))


def log_mixture(s: float, v: float, prior: Prior) -> float:
    """Log of the mixture over any prior, for a sum that is normal with variance ``v`` under the null."""
    return _log_average(prior, prior.lambdas * s - prior.lambdas**2 * v / 2)


def log_assignment_mixture(s: float, totals: Floats, shares: Floats, prior: Prior, v: float = 0.0) -> float:
    """Log of the mixture under the exact distribution of the sum over random assignments of the users.

    User i adds ``totals[i, a]`` when the user's place is in interval ``a``, which has the length ``shares[a]``. At any
    one time the mean is 1 for every set of totals, however much one user outweighs the others.

    Args:
        s: the observed sum.
        totals: [users, intervals], of mean zero over the intervals.
        shares: [intervals], which add up to 1.
        prior: on λ.
        v: variance of the rest of the sum, which is sub-Gaussian.
    """
    lambdas = prior.lambdas
    highest = totals.max(axis=1)
    below = totals - highest[:, None]
    mean = np.zeros((len(totals), len(lambdas)))
    for interval, share in enumerate(shares):
        mean += share * np.exp(below[:, interval, None] * lambdas)
    cumulant = lambdas * highest.sum() + np.log(mean).sum(axis=0) + lambdas**2 * v / 2
    return _log_average(prior, lambdas * s - cumulant)


def _log_average(prior: Prior, exponents: Floats) -> float:
    """Log of the prior's average of exp(exponents), without overflow."""
    top = exponents.max()
    return float(top + np.log(prior.weights @ np.exp(exponents - top)))

"""Mixture e-values: evidence against a null that may be looked at after every request.

An e-value is at most 1 on average while its null holds. If it is so at every time at once (a test supermartingale),
its chance of ever reaching 1/α is at most α (Ville 1939), so no look costs anything. All here weigh exp(λs - K(λ))
over a prior on λ, and any prior will do (Robbins 1970, Annals of Mathematical Statistics 41(5)). They differ in K, the
cumulant function of the sum s under its null: λ²v/2 where s is taken for normal, and the exact one of a random
assignment where few users weigh much.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammainc, log_ndtr, ndtr

Floats = NDArray[np.float64]
POINTS = 24
NARROWEST, WIDEST = 0.03, 4.0
"""Of a prior's grid, in its own scale."""


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
    """A prior about one size of effect, 1/√shape of its mean wide."""
    return Prior(lambdas=_POINTS * mean, weights=np.diff(gammainc(shape, _EDGES * shape)))


_POINTS = np.geomspace(NARROWEST, WIDEST, POINTS)
_EDGES = np.concatenate([[0.0], np.sqrt(_POINTS[1:] * _POINTS[:-1]), [np.inf]])
_HALF_NORMAL = np.diff(2 * ndtr(_EDGES) - 1)


def log_normal_mixture(s: float, v: float, rho: float) -> float:
    """Log of the one-sided normal mixture: √(4ρ/(v+ρ)) · exp(s²/2(v+ρ)) · Φ(s/√(v+ρ)).

    Args:
        s: the sum; evidence when above zero.
        v: its variance under the null.
        rho: precision of the half-normal prior on λ. The boundary is tightest where s/v is about 1/√rho.
    """
    spread = v + rho
    return float(0.5 * np.log(4 * rho / spread) + s * s / (2 * spread) + log_ndtr(s / np.sqrt(spread)))


def log_mixture(s: float, v: float, prior: Prior) -> float:
    """Log of the mixture over any prior, for a sum that is normal with variance ``v`` under the null."""
    return _weighed(prior, prior.lambdas * s - prior.lambdas**2 * v / 2)


def log_assignment_mixture(s: float, totals: Floats, shares: Floats, prior: Prior, v: float = 0.0) -> float:
    """Log of the mixture under the exact distribution that a random assignment of the users gives to the sum.

    User i adds ``totals[i, a]`` when his place is in interval ``a``, which has the length ``shares[a]``. At any one
    time its mean is 1 for every set of totals, however much one user outweighs the others.

    Args:
        s: the sum that was seen.
        totals: [users, intervals], of mean zero over the intervals.
        shares: [intervals], which add up to 1.
        prior: on λ.
        v: variance of what else is in the sum and is no wider than a normal of it.
    """
    lambdas = prior.lambdas
    highest = totals.max(axis=1)
    below = totals - highest[:, None]
    mean = np.zeros((len(totals), len(lambdas)))
    for place, share in enumerate(shares):
        mean += share * np.exp(below[:, place, None] * lambdas)
    cumulant = lambdas * highest.sum() + np.log(mean).sum(axis=0) + lambdas**2 * v / 2
    return _weighed(prior, lambdas * s - cumulant)


def _weighed(prior: Prior, exponents: Floats) -> float:
    top = exponents.max()
    return float(top + np.log(prior.weights @ np.exp(exponents - top)))

"""The test of two rates of bad events: exact for small counts, with an estimated dispersion.

The current count is compared given the reference's: if both times have one rate, it is negative binomial. This is the
conditional binomial test of two Poisson rates (Przyborowski and Wilenski 1940, Biometrika 31(3/4)) in another form,
which takes a dispersion without change (McCullagh and Nelder 1989, section 6.2.3). The dispersion is estimated, after
an incident from few days, so the p-value is averaged over its possible values: a test that uses the estimate as if it
were exact raises ten times the false alarms that it promises.
"""

from collections.abc import Sequence

import numpy as np

from models.triggers.counts import DispersionEstimate

DISPERSIONS = np.geomspace(1, 64, 20)
"""Possible values of the dispersion. Its prior probability to be above x is 1/x."""


def dispersion_weights(estimates: Sequence[DispersionEstimate]) -> tuple[np.ndarray, np.ndarray]:
    """Possible dispersions [1, values] and the posterior weight of each, by estimate [estimates, values].

    Pearson's statistic divided by the dispersion is chi-square.
    """
    statistic, degrees = np.array(estimates, float).T[:, :, None]
    top = float(np.max(statistic / np.maximum(degrees, 1)))
    phi = DISPERSIONS if top < 16 else np.geomspace(1, 4 * top, len(DISPERSIONS))
    logs = -(1 + degrees / 2) * np.log(phi) - statistic / 2 / phi
    weight = np.exp(logs - logs.max(axis=1, keepdims=True))
    weight[:, [0, -1]] /= 2
    return phi[None, :], weight / weight.sum(axis=1, keepdims=True)


def p_values(phi: np.ndarray, weight: np.ndarray, reference: np.ndarray, current: np.ndarray) -> np.ndarray:
    """One-sided p-values: the probability of at least the current count, given the reference's, if both have one rate.

    Averaged over the dispersions; with a dispersion of 1 the counts are Poisson, and the test is exact. A share varies
    less than a count, because it is bounded by 1; counts are divided by that factor.

    Args:
        phi: the possible dispersions [1, values].
        weight: of each, by row [rows, values].
        reference: calls and bad ones [rows, 2].
        current: calls and bad ones [rows, 2].
    """
    from scipy.special import betainc

    (calls_before, bad_before), (calls, bad) = reference.T, current.T
    scale = np.maximum(1 - (bad_before + bad) / np.maximum(calls_before + calls, 1), 1e-3)
    ratio = (calls / np.maximum(calls_before, 1e-9))[:, None]
    varies = phi * (1 + ratio)
    size = (bad_before / scale + 1)[:, None] * ratio / np.maximum(varies - 1, 1e-12)
    result: np.ndarray = (weight * betainc(np.maximum(bad / scale, 1e-9)[:, None], size, 1 - 1 / varies)).sum(axis=1)
    return np.where((bad > 0) & (calls > 0) & (calls_before > 0), result, 1.0)

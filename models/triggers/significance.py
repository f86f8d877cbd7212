"""The test of two rates of bad events: exact for small counts, with an estimated dispersion.

The current count is compared given the reference's: if both times have one rate, it is negative binomial. This is the
conditional binomial test of two Poisson rates (Przyborowski and Wilenski 1940, Biometrika 31(3/4)) in another form,
which takes a dispersion without change (McCullagh and Nelder 1989, section 6.2.3). The dispersion is estimated, after
an incident from few days, so the p-value is averaged over its possible values: a test that uses the estimate as if it
were exact raises ten times the false alarms that it promises.
"""

from collections.abc import Sequence

import numpy as np

from models.triggers.counts import DispersionEstimate, Rate

DISPERSIONS = np.geomspace(1, 64, 20)
"""Possible values of the dispersion. Its prior probability to be above x is 1/x."""


def p_value_of_more(reference: Rate, current: Rate, dispersion: DispersionEstimate | None = None) -> float:
    """One-sided p-value: the probability of at least the current count, given the reference's, if both have one rate.

    Without a dispersion the counts are Poisson, and the test is exact.
    """
    if not current.bad or not current.calls or not reference.calls:
        return 1.0
    phi, weight = (np.ones(1), np.ones(1)) if dispersion is None else dispersion_weights([dispersion])
    return float(
        p_values(phi, weight, *(np.array([x]) for x in (calls_and_bad(reference), calls_and_bad(current)))).item()
    )


def dispersion_weights(estimates: Sequence[DispersionEstimate]) -> tuple[np.ndarray, np.ndarray]:
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


def p_values(phi: np.ndarray, weight: np.ndarray, reference: np.ndarray, current: np.ndarray) -> np.ndarray:
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


def calls_and_bad(rate: Rate) -> tuple[float, float]:
    return rate.calls, rate.bad

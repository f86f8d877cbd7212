"""What a test of a fixed size needs to show harm: two proportions, the same levels, power, steps and users.

It is the standard z-test, with one analysis at the end, of the same weighted difference, for users who stay on their
arm: with correlated requests each further request shows less, so a number of users has a limit to what it can show. Two
simplifications favour it a little: the shares of the requests are those of the users, and the sum is normal.
"""

import math

from scipy.stats import norm

from benchmarks.canary.scenarios import RolloutScenario
from serving.policy import Metric

MAX_REQUESTS = 1e8


def requests_needed(scenario: RolloutScenario, power: float, widened: float) -> float:
    """Requests of both arms that give a one-sided z-test this power; infinite where so few users never give it.

    Args:
        scenario: its rates, users and rule.
        power: probability of showing that the candidate is worse.
        widened: requests at which the second share takes effect.
    """
    if not _shows(scenario, power, MAX_REQUESTS, widened):
        return math.inf
    low, high = 1.0, MAX_REQUESTS
    while high / low > 1.001:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if _shows(scenario, power, middle, widened) else (middle, high)
    return high


def _shows(scenario: RolloutScenario, power: float, requests: float, widened: float) -> bool:
    model, rule = scenario.model, scenario.rule
    rows = [min(requests, widened), max(requests - widened, 0.0)]
    weight = sum(n * q * (1 - q) for n, q in zip(rows, rule.steps, strict=True))
    share = sum(n * q * (1 - q) * q for n, q in zip(rows, rule.steps, strict=True)) / weight
    rates = model.rate, model.rate + model.excess
    pooled = model.rate + share * model.excess
    # With exponentially distributed requests per user, the squares of the users' shares of them add up to 2/users.
    clustering = 2 * model.intraclass_correlation / model.users
    equal = math.sqrt(_variance(rows, rule.steps, pooled, pooled, clustering))
    worse = math.sqrt(_variance(rows, rule.steps, *rates, clustering))
    level = rule.rollback_error / len(Metric)
    return model.excess * weight >= norm.isf(level) * equal + norm.ppf(power) * worse


def _variance(rows: list[float], steps: list[float], stable: float, candidate: float, clustering: float) -> float:
    """Variance of Σ n₁n₀/(n₁+n₀)·(difference of the rates): of single requests, and of randomly assigned users.

    A user's rate with the candidate is proportional to the stable one, and so is its deviation.
    """
    spread = stable * (1 - stable)
    ratio = candidate / stable
    single = sum(
        n * q * (1 - q) * ((1 - q) * candidate * (1 - candidate) + q * spread) for n, q in zip(rows, steps, strict=True)
    )
    users = 0.0
    for n, q in zip(rows, steps, strict=True):
        for m, r in zip(rows, steps, strict=True):
            low, high = min(q, r), max(q, r)
            on_candidate = low * (1 - q) * (1 - r) * ratio**2
            on_stable = (1 - high) * q * r
            crossed = (high - low) * low * (1 - high) * ratio
            users += n * m * (on_candidate + on_stable - crossed)
    return single + clustering * spread * users

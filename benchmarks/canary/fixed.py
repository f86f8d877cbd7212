"""What a test of a fixed size would need to show harm: two proportions, the same levels, power, steps and users.

It is the textbook's z-test with one look at the end, of the same weighted difference, for users who stay on their arm:
where they are alike a further request tells less and less, and so many users can show so much and no more. It is
favoured a little: the shares of the requests are taken to be those of the users, and the sum to be normal.
"""

import math

from scipy.stats import norm

from benchmarks.canary.scenarios import Scenario
from serving.policy import Metric

MOST = 1e8


def requests_needed(scenario: Scenario, power: float, widened: float) -> float:
    """Requests of both arms until a one-sided z-test has this power; infinite where so few users never give it.

    Args:
        scenario: its rates, users and rule.
        power: chance of showing that the candidate is worse.
        widened: requests at which the second share takes effect.
    """
    if not _shows(scenario, power, MOST, widened):
        return math.inf
    low, high = 1.0, MOST
    while high / low > 1.001:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if _shows(scenario, power, middle, widened) else (middle, high)
    return high


def _shows(scenario: Scenario, power: float, requests: float, widened: float) -> bool:
    world, rule = scenario.world, scenario.rule
    rows = [min(requests, widened), max(requests - widened, 0.0)]
    weight = sum(n * q * (1 - q) for n, q in zip(rows, rule.steps, strict=True))
    share = sum(n * q * (1 - q) * q for n, q in zip(rows, rule.steps, strict=True)) / weight
    rates = world.rate, world.rate + world.excess
    pooled = world.rate + share * world.excess
    # Users who ask an exponential amount: the squares of their parts of the requests add up to 2/users.
    together = 2 * world.intraclass_correlation / world.users
    equal = math.sqrt(_variance(rows, rule.steps, pooled, pooled, together))
    worse = math.sqrt(_variance(rows, rule.steps, *rates, together))
    level = rule.rollback_error / len(Metric)
    return world.excess * weight >= norm.isf(level) * equal + norm.ppf(power) * worse


def _variance(rows: list[float], steps: list[float], stable: float, candidate: float, together: float) -> float:
    """Of Σ n₁n₀/(n₁+n₀)·(difference of the rates): of single requests, and of users whose places fall at random.

    A user's rate with the candidate is his stable one in proportion, so its deviation is in proportion too.
    """
    spread = stable * (1 - stable)
    stretched = candidate / stable
    single = sum(
        n * q * (1 - q) * ((1 - q) * candidate * (1 - candidate) + q * spread) for n, q in zip(rows, steps, strict=True)
    )
    users = 0.0
    for n, q in zip(rows, steps, strict=True):
        for m, r in zip(rows, steps, strict=True):
            low, high = min(q, r), max(q, r)
            on_candidate = low * (1 - q) * (1 - r) * stretched**2
            on_stable = (1 - high) * q * r
            crossed = (high - low) * low * (1 - high) * stretched
            users += n * m * (on_candidate + on_stable - crossed)
    return single + together * spread * users

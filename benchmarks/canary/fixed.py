"""What a test of a fixed size would need: two proportions, the same levels, power and steps."""

import math

from scipy.stats import norm

from benchmarks.canary.scenarios import Scenario
from serving.canary_rule import Metric


def requests_needed(scenario: Scenario, power: float, widened: float, alike: float, each: float) -> float:
    """Requests of both arms until a one-sided z-test has this power.

    Args:
        scenario: its rates, margin and rule.
        power: chance of showing what is so.
        widened: requests at which the second share takes effect.
        alike: correlation of the requests of one user; 0: as if they were independent, which favours this test.
        each: requests of a user within the whole rollout, weighed by their number (Σm²/Σm).
    """
    world, rule = scenario.world, scenario.rule
    harm = world.excess > 0
    level = rule.rollback_error / len(Metric) if harm else rule.promote_error
    margin = rule.error_margin
    found, low, high = math.inf, 1.0, 1e8
    while high / low > 1.001:
        middle = math.sqrt(low * high)
        weight, stable_weight = _weights(rule.steps, middle, widened)
        share = 1 - stable_weight / weight
        p0, p1 = world.rate, world.rate + world.excess
        pooled = p0 + share * world.excess
        null = pooled * (1 - pooled) if harm else _variance(p0, p0 + margin, share)
        gap = world.excess if harm else margin - world.excess
        effect = 1 + alike * (each * middle / world.requests - 1) if alike else 1.0
        z = norm.isf(level) * math.sqrt(null) + norm.ppf(power) * math.sqrt(_variance(p0, p1, share))
        if gap * math.sqrt(weight / max(effect, 1.0)) >= z:
            found, high = middle, middle
        else:
            low = middle
    return found


def _weights(steps: list[float], requests: float, widened: float) -> tuple[float, float]:
    """Σ n₁n₀/(n₁+n₀), and the same times the stable share, along the two steps."""
    parts = (min(requests, widened), max(requests - widened, 0.0))
    weight = sum(n * q * (1 - q) for n, q in zip(parts, steps, strict=True))
    return weight, sum(n * q * (1 - q) ** 2 for n, q in zip(parts, steps, strict=True))


def _variance(stable: float, candidate: float, share: float) -> float:
    """Of the weighted difference, a unit of weight."""
    return (1 - share) * candidate * (1 - candidate) + share * stable * (1 - stable)

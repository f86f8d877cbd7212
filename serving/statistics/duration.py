"""How long a decision should take at the present traffic: printed before a rollout starts.

The sums are put at their expected values, and the boundary of the normal mixture says when they cross it; about half
of all rollouts decide sooner. Where that is after the deadline the plan says so: a rollout that is going to be
inconclusive is better not begun, or begun with another margin.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from serving.policy import CanaryRule, Metric
from serving.statistics.mixtures import log_mixture, log_normal_mixture
from serving.statistics.sequential_test import harm_prior, log_not_worse_at, log_worse_at

LONGEST_HOURS = 24 * 365.0
"""What is not decided within a year of traffic is said never to be."""
SHORTEST_HOURS = 1e-4
TRIES = 300
"""Each 6% after the one before."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricTraffic:
    """What one metric sees now, with one version serving."""

    metric: Metric
    per_hour: float
    """Requests that have an outcome in this metric: for thumbs down, ratings."""
    bad_rate: float
    intraclass_correlation: float = 0.01
    """Correlation of two outcomes of one user in this metric; 0 if users do not differ."""

    def __post_init__(self) -> None:
        if self.per_hour < 0 or not 0 <= self.bad_rate <= 1 or not 0 <= self.intraclass_correlation < 1:
            raise ValueError(
                f"impossible traffic: {self.per_hour} an hour (at least 0), bad rate {self.bad_rate} (0 to 1), "
                f"intraclass correlation {self.intraclass_correlation} (0 to below 1)"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricForecast:
    """What one metric should take."""

    metric: Metric
    promote_requests: float
    """Of this metric, both arms, until an equal candidate is shown not to be worse than the margin; 0 where it is
    judged for harm alone, infinite where no traffic would do."""
    promote_hours: float
    rollback_requests: float
    """The same until a candidate with twice the bad rate is shown to be worse."""
    rollback_hours: float


@dataclass(frozen=True, kw_only=True, slots=True)
class DurationForecast:
    """What to expect of a rollout that has not started."""

    metrics: list[MetricForecast]
    exposure_hours: float
    """Until every step has its least exposure."""
    deadline_hours: float

    @property
    def promote_hours(self) -> float:
        """Until an equal candidate is promoted: every metric, and the least exposure."""
        return max(self.exposure_hours, *(one.promote_hours for one in self.metrics))

    @property
    def longer_than_deadline(self) -> bool:
        """Whether an equal candidate will probably still be undecided at the deadline."""
        return self.promote_hours > self.deadline_hours

    @property
    def text(self) -> str:
        """The plan, a line a metric, to be printed before the start."""
        lines = [f"Least exposure of all steps: {_hours(self.exposure_hours)}."]
        lines += [_line(one, self.deadline_hours) for one in self.metrics]
        if self.longer_than_deadline:
            lines.append(
                f"An equal candidate is expected to need {_hours(self.promote_hours)}, which is longer than the "
                f"deadline of {_hours(self.deadline_hours)}: it will probably end as inconclusive. Widen the margin, "
                "extend the deadline, or give the metric a margin of 1 to judge it for harm alone."
            )
        else:
            lines.append(
                f"An equal candidate should be promoted after about {_hours(self.promote_hours)}; the deadline is "
                f"{_hours(self.deadline_hours)}."
            )
        return "\n".join(lines)


def expected_duration(rule: CanaryRule, traffic: Sequence[MetricTraffic], users: int) -> DurationForecast:
    """Say what a rollout should take.

    Args:
        rule: margins, errors, steps, deadline.
        traffic: of each metric; one that is not there has no outcomes at all.
        users: different users within the deadline.
    """
    known = {one.metric: one for one in traffic}
    every = [known.get(metric, MetricTraffic(metric=metric, per_hour=0, bad_rate=0)) for metric in Metric]
    hours = _step_hours(rule, known[Metric.ERROR].per_hour if Metric.ERROR in known else 0.0, users)
    return DurationForecast(
        metrics=[_expected(rule, one, hours, users) for one in every],
        exposure_hours=sum(hours),
        deadline_hours=rule.deadline_hours,
    )


def _step_hours(rule: CanaryRule, per_hour: float, users: int) -> list[float]:
    """Hours that each step takes for its least exposure."""
    if not per_hour:
        return [math.inf for _ in rule.steps]
    return [
        math.inf if share * users < rule.min_users else rule.min_requests / (share * per_hour) for share in rule.steps
    ]


def _expected(rule: CanaryRule, traffic: MetricTraffic, step_hours: list[float], users: int) -> MetricForecast:
    margin = rule.margin(traffic.metric)
    promote = _first(partial(_promoted, rule, traffic, step_hours, users, margin))
    rollback = _first(partial(_rolled_back, rule, traffic, step_hours, users))
    if not rule.judged_for_promotion(traffic.metric):
        promote = 0.0
    return MetricForecast(
        metric=traffic.metric,
        promote_requests=_requests(promote, traffic),
        promote_hours=promote,
        rollback_requests=_requests(rollback, traffic),
        rollback_hours=rollback,
    )


def _promoted(
    rule: CanaryRule, traffic: MetricTraffic, step_hours: list[float], users: int, margin: float, hours: float
) -> bool:
    weight, stable_weight = _weights(rule, traffic, step_hours, hours)
    stable, candidate = traffic.bad_rate, min(traffic.bad_rate + margin, 1.0)
    spread = stable_weight * candidate * (1 - candidate) + (weight - stable_weight) * stable * (1 - stable)
    v = spread * _design_effect(traffic, users, hours)
    if v <= 0:
        return False
    return log_normal_mixture(margin * weight, v, (v / (margin * weight)) ** 2) >= log_not_worse_at(rule)


def _rolled_back(rule: CanaryRule, traffic: MetricTraffic, step_hours: list[float], users: int, hours: float) -> bool:
    weight, stable_weight = _weights(rule, traffic, step_hours, hours)
    if not weight:
        return False
    pooled = min(traffic.bad_rate * (2 - stable_weight / weight), 1.0)
    effect = _design_effect(traffic, users, hours)
    v = weight * pooled * (1 - pooled) * effect
    return log_mixture(traffic.bad_rate * weight, v, harm_prior(effect)) >= log_worse_at(rule)


def _weights(rule: CanaryRule, traffic: MetricTraffic, step_hours: list[float], hours: float) -> tuple[float, float]:
    """Σ n₁n₀/(n₁+n₀) after these hours, and the same with the stable share; the last step lasts for ever."""
    weight = stable_weight = 0.0
    for place, share in enumerate(rule.steps):
        last = place == len(rule.steps) - 1
        here = hours if last else min(hours, step_hours[place])
        rows = here * traffic.per_hour
        weight += rows * share * (1 - share)
        stable_weight += rows * share * (1 - share) ** 2
        hours -= here
    return weight, stable_weight


def _design_effect(traffic: MetricTraffic, users: int, hours: float) -> float:
    """1 + correlation·(requests per user - 1), doubled as for exponentially distributed requests per user."""
    requests_per_user = hours * traffic.per_hour / max(users, 1)
    return 1 + traffic.intraclass_correlation * 2 * requests_per_user


def _first(decided: Callable[[float], bool]) -> float:
    """Hours after which it is first decided.

    Not for good: where users are alike the evidence grows up to what so many users can show, and then wears off. So
    the hours are tried one after the other, and between the last two by halving.
    """
    tried = np.geomspace(SHORTEST_HOURS, LONGEST_HOURS, TRIES)
    found = next((place for place, hours in enumerate(tried) if decided(float(hours))), None)
    if found is None:
        return math.inf
    low, high = float(tried[found - 1]) if found else 0.0, float(tried[found])
    while high - low > 0.01 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if decided(middle) else (middle, high)
    return high


def _requests(hours: float, traffic: MetricTraffic) -> float:
    return hours * traffic.per_hour if math.isfinite(hours) else math.inf


def _line(one: MetricForecast, deadline_hours: float) -> str:
    name = one.metric.value.replace("_", " ")
    if one.promote_hours == 0:
        promote = "judged for harm alone"
    else:
        late = ", AFTER THE DEADLINE" if one.promote_hours > deadline_hours else ""
        promote = f"an equal candidate is shown not to be worse after {_span(one.promote_requests, one.promote_hours)}"
        promote += late
    return f"{name}: {promote}; twice the bad rate is seen after {_span(one.rollback_requests, one.rollback_hours)}."


def _span(requests: float, hours: float) -> str:
    return f"{requests:,.0f} requests ({_hours(hours)})" if math.isfinite(hours) else "no traffic of a year"


def _hours(hours: float) -> str:
    if math.isinf(hours):
        return "for ever"
    return f"{hours:.1f} h" if hours < 72 else f"{hours / 24:.1f} days"

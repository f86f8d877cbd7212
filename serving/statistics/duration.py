"""How long a decision should take at the present traffic: reported before a rollout gets its first user.

The sums are set to their expected values, and the boundary of the normal mixture gives the time at which they cross
it; about half of all rollouts decide sooner. If that is after the deadline the forecast says so: a rollout that will
probably end as inconclusive is better not begun, or begun with another margin.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from serving.policy import CanaryRule, Metric
from serving.statistics.mixtures import log_mixture, log_normal_mixture
from serving.statistics.sequential_test import harm_prior, harm_threshold, promotion_threshold

LONGEST_HOURS = 24 * 365.0
"""A decision that takes more than a year of traffic is reported as never reached."""
SHORTEST_HOURS = 1e-4
GRID_POINTS = 300
"""Each 6% after the point before."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricTraffic:
    """The present traffic of one metric, with one version serving."""

    metric: Metric
    per_hour: float
    """Requests an hour that have an outcome in this metric: for negative feedback, ratings."""
    bad_rate: float
    intraclass_correlation: float = 0.01
    """Of two outcomes of one user in this metric; 0 if users do not differ."""

    def __post_init__(self) -> None:
        if self.per_hour < 0 or not 0 <= self.bad_rate <= 1 or not 0 <= self.intraclass_correlation < 1:
            raise ValueError(
                f"impossible traffic: {self.per_hour} an hour (at least 0), bad rate {self.bad_rate} (0 to 1), "
                f"intraclass correlation {self.intraclass_correlation} (0 to below 1)"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricForecast:
    """How long the decisions on one metric should take."""

    metric: Metric
    promote_requests: float
    """Of this metric, both arms, until an equal candidate is shown not to be worse than the margin; 0 if it is tested
    for harm only, infinite if no traffic suffices."""
    promote_hours: float
    rollback_requests: float
    """The same until a candidate with twice the bad rate is shown worse."""
    rollback_hours: float


@dataclass(frozen=True, kw_only=True, slots=True)
class DurationForecast:
    """The expected durations of a rollout that has no user yet."""

    metrics: list[MetricForecast]
    exposure_hours: float
    """Until every step has its minimum exposure."""
    deadline_hours: float

    @property
    def promote_hours(self) -> float:
        """Until an equal candidate is promoted: every metric, and the minimum exposure."""
        return max(self.exposure_hours, *(metric.promote_hours for metric in self.metrics))

    @property
    def longer_than_deadline(self) -> bool:
        """Whether an equal candidate will probably still be undecided at the deadline."""
        return self.promote_hours > self.deadline_hours

    @property
    def text(self) -> str:
        """The forecast, a line a metric."""
        needed, deadline = _hours(self.promote_hours), _hours(self.deadline_hours)
        end = f"An equal candidate should be promoted after about {needed}; the deadline is {deadline}."
        if self.longer_than_deadline:
            end = (
                f"An equal candidate is expected to need {needed}, which is longer than the deadline of {deadline}: it "
                "will probably end as inconclusive. Widen the margin, extend the deadline, or give the metric a margin "
                "of 1 to test it for harm only."
            )
        lines = [_line(metric, self.deadline_hours) for metric in self.metrics]
        return "\n".join([f"Minimum exposure of all steps: {_hours(self.exposure_hours)}.", *lines, end])


def expected_duration(rule: CanaryRule, traffic: Sequence[MetricTraffic], users: int) -> DurationForecast:
    """How long a rollout should take with so many different ``users`` within the deadline.

    A metric without ``traffic`` has no outcomes.
    """
    every = {metric: MetricTraffic(metric=metric, per_hour=0, bad_rate=0) for metric in Metric}
    every |= {metric.metric: metric for metric in traffic}
    hours = _step_hours(rule, every[Metric.ERROR].per_hour, users)
    return DurationForecast(
        metrics=[_expected(rule, metric, hours, users) for metric in every.values()],
        exposure_hours=sum(hours),
        deadline_hours=rule.deadline_hours,
    )


def _step_hours(rule: CanaryRule, per_hour: float, users: int) -> list[float]:
    """Hours that each step takes for its minimum exposure."""
    return [
        rule.min_requests / (share * per_hour) if per_hour and share * users >= rule.min_users else math.inf
        for share in rule.steps
    ]


def _expected(rule: CanaryRule, traffic: MetricTraffic, step_hours: list[float], users: int) -> MetricForecast:
    judged = rule.judged_for_promotion(traffic.metric)
    promote = _first_time(partial(_promoted, rule, traffic, step_hours, users)) if judged else 0.0
    rollback = _first_time(partial(_rolled_back, rule, traffic, step_hours, users))
    return MetricForecast(
        metric=traffic.metric,
        promote_requests=_requests(promote, traffic),
        promote_hours=promote,
        rollback_requests=_requests(rollback, traffic),
        rollback_hours=rollback,
    )


def _promoted(rule: CanaryRule, traffic: MetricTraffic, step_hours: list[float], users: int, hours: float) -> bool:
    weight, stable_weight = _weights(rule, traffic, step_hours, hours)
    margin = rule.margin(traffic.metric)
    stable, candidate = traffic.bad_rate, min(traffic.bad_rate + margin, 1.0)
    spread = stable_weight * candidate * (1 - candidate) + (weight - stable_weight) * stable * (1 - stable)
    v = spread * _design_effect(traffic, users, hours)
    if v <= 0:
        return False
    return log_normal_mixture(margin * weight, v, (v / (margin * weight)) ** 2) >= promotion_threshold(rule)


def _rolled_back(rule: CanaryRule, traffic: MetricTraffic, step_hours: list[float], users: int, hours: float) -> bool:
    weight, stable_weight = _weights(rule, traffic, step_hours, hours)
    if not weight:
        return False
    pooled = min(traffic.bad_rate * (2 - stable_weight / weight), 1.0)
    effect = _design_effect(traffic, users, hours)
    v = weight * pooled * (1 - pooled) * effect
    return log_mixture(traffic.bad_rate * weight, v, harm_prior(effect)) >= harm_threshold(rule)


def _weights(rule: CanaryRule, traffic: MetricTraffic, step_hours: list[float], hours: float) -> tuple[float, float]:
    """Σ n₁n₀/(n₁+n₀) after these hours, and the same weighted by the stable share; the last step has no end."""
    weight = stable_weight = 0.0
    for index, share in enumerate(rule.steps):
        last = index == len(rule.steps) - 1
        spent = hours if last else min(hours, step_hours[index])
        rows = spent * traffic.per_hour
        weight += rows * share * (1 - share)
        stable_weight += rows * share * (1 - share) ** 2
        hours -= spent
    return weight, stable_weight


def _design_effect(traffic: MetricTraffic, users: int, hours: float) -> float:
    """1 + correlation·(requests per user - 1), doubled as for exponentially distributed requests per user."""
    requests_per_user = hours * traffic.per_hour / max(users, 1)
    return 1 + traffic.intraclass_correlation * 2 * requests_per_user


def _first_time(decided: Callable[[float], bool]) -> float:
    """Hours after which it is first decided.

    The evidence need not stay above the threshold: with correlated requests it grows to what so many users can show,
    and then declines. So the hours are tried one after the other on a grid, and between two points by bisection.
    """
    tried = np.geomspace(SHORTEST_HOURS, LONGEST_HOURS, GRID_POINTS)
    found = next((index for index, hours in enumerate(tried) if decided(float(hours))), None)
    if found is None:
        return math.inf
    low, high = float(tried[found - 1]) if found else 0.0, float(tried[found])
    while high - low > 0.01 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if decided(middle) else (middle, high)
    return high


def _requests(hours: float, traffic: MetricTraffic) -> float:
    return hours * traffic.per_hour if math.isfinite(hours) else math.inf


def _line(metric: MetricForecast, deadline_hours: float) -> str:
    name = metric.metric.value.replace("_", " ")
    if metric.promote_hours == 0:
        promote = "tested for harm only"
    else:
        late = ", AFTER THE DEADLINE" if metric.promote_hours > deadline_hours else ""
        span = _span(metric.promote_requests, metric.promote_hours)
        promote = f"an equal candidate is shown not to be worse after {span}{late}"
    rollback = _span(metric.rollback_requests, metric.rollback_hours)
    return f"{name}: {promote}; twice the bad rate is shown after {rollback}."


def _span(requests: float, hours: float) -> str:
    return f"{requests:,.0f} requests ({_hours(hours)})" if math.isfinite(hours) else "more than a year of traffic"


def _hours(hours: float) -> str:
    if math.isinf(hours):
        return "never"
    return f"{hours:.1f} h" if hours < 72 else f"{hours / 24:.1f} days"

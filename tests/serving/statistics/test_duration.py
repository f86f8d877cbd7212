"""The forecast before a rollout starts, and whether simulated rollouts then take that long."""

import math
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.canary.simulation import simulate
from benchmarks.canary.traffic import TrafficModel, simulate_traffic
from serving.policy import CanaryRule, Metric
from serving.statistics.duration import MetricTraffic, expected_duration

RULE = CanaryRule(error_margin=0.05, slow_margin=1.0, thumbs_down_margin=1.0)
ERRORS = MetricTraffic(metric=Metric.ERROR, per_hour=60, bad_rate=0.05, intraclass_correlation=0.0)


def test_a_rollout_takes_about_as_long_as_its_forecast() -> None:
    plan = expected_duration(RULE, [ERRORS], users=800)
    model = TrafficModel(rate=0.05, users=800, intraclass_correlation=0.0)
    twice = replace(model, excess=0.05)
    equal = [simulate(simulate_traffic(model, np.random.default_rng((1, seed))), RULE) for seed in range(30)]
    doubled = [simulate(simulate_traffic(twice, np.random.default_rng((2, seed))), RULE) for seed in range(30)]
    errors = plan.metrics[0]

    assert np.median([rollout.requests for rollout in equal]) == pytest.approx(errors.promote_requests, rel=0.3)
    assert np.median([rollout.requests for rollout in doubled]) == pytest.approx(errors.rollback_requests, rel=0.3)


def test_the_forecast_warns_that_rare_ratings_take_longer_than_the_deadline() -> None:
    ratings = MetricTraffic(metric=Metric.THUMBS_DOWN, per_hour=0.5, bad_rate=0.2)
    plan = expected_duration(replace(RULE, thumbs_down_margin=0.1), [ERRORS, ratings], users=800)

    assert plan.longer_than_deadline
    assert "thumbs down" in plan.text
    assert "AFTER THE DEADLINE" in plan.text
    assert "it will probably end as inconclusive" in plan.text


def test_a_metric_tested_for_harm_only_delays_no_promotion() -> None:
    ratings = MetricTraffic(metric=Metric.THUMBS_DOWN, per_hour=0.5, bad_rate=0.2)
    plan = expected_duration(RULE, [ERRORS, ratings], users=800)

    assert not plan.longer_than_deadline
    assert "thumbs down: tested for harm only" in plan.text


def test_no_traffic_and_too_few_users_are_never_decided() -> None:
    assert expected_duration(RULE, [], users=800).promote_hours == math.inf
    few = expected_duration(RULE, [ERRORS], users=50)

    assert few.exposure_hours == math.inf
    assert "never" in few.text


def test_correlated_requests_of_a_user_take_longer() -> None:
    correlated = expected_duration(RULE, [replace(ERRORS, intraclass_correlation=0.02)], users=300).metrics[0]
    independent = expected_duration(RULE, [ERRORS], users=300).metrics[0]

    assert correlated.promote_requests > 1.1 * independent.promote_requests
    assert correlated.rollback_requests > 1.1 * independent.rollback_requests


def test_more_traffic_never_makes_a_decision_take_more_hours() -> None:
    rates = [10.0**power for power in range(2, 10)]
    plans = [
        expected_duration(RULE, [replace(ERRORS, per_hour=rate, intraclass_correlation=0.02)], users=300)
        for rate in rates
    ]
    hours = np.array([[plan.metrics[0].promote_hours, plan.metrics[0].rollback_hours] for plan in plans])

    assert np.isfinite(hours).all()
    assert (np.diff(hours, axis=0) < 0).all()


def test_impossible_traffic_is_refused() -> None:
    with pytest.raises(ValueError, match="impossible traffic"):
        MetricTraffic(metric=Metric.ERROR, per_hour=10, bad_rate=1.5)

"""What the plan says before a rollout starts, and whether rollouts then take that long."""

import math
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.canary.play import play
from benchmarks.canary.world import World, traffic
from serving.policy import CanaryRule, Metric
from serving.statistics.duration import MetricTraffic, expected_duration

RULE = CanaryRule(error_margin=0.05, slow_margin=1.0, thumbs_down_margin=1.0)
ERRORS = MetricTraffic(metric=Metric.ERROR, per_hour=60, bad_rate=0.05, intraclass_correlation=0.0)


def test_a_rollout_takes_about_as_long_as_its_plan_said() -> None:
    plan = expected_duration(RULE, [ERRORS], users=800)
    world = World(rate=0.05, users=800, intraclass_correlation=0.0)
    equal = [play(traffic(world, np.random.default_rng((1, seed))), RULE) for seed in range(30)]
    doubled = [play(traffic(replace(world, excess=0.05), np.random.default_rng((2, seed))), RULE) for seed in range(30)]
    errors = plan.metrics[0]

    assert np.median([one.requests for one in equal]) == pytest.approx(errors.promote_requests, rel=0.3)
    assert np.median([one.requests for one in doubled]) == pytest.approx(errors.rollback_requests, rel=0.3)


def test_rare_ratings_are_said_to_outlast_the_deadline() -> None:
    ratings = MetricTraffic(metric=Metric.THUMBS_DOWN, per_hour=0.5, bad_rate=0.2)
    plan = expected_duration(replace(RULE, thumbs_down_margin=0.1), [ERRORS, ratings], users=800)

    assert plan.longer_than_deadline
    assert "thumbs down" in plan.text
    assert "AFTER THE DEADLINE" in plan.text
    assert "it will probably end as inconclusive" in plan.text


def test_a_metric_for_harm_alone_delays_no_promotion() -> None:
    ratings = MetricTraffic(metric=Metric.THUMBS_DOWN, per_hour=0.5, bad_rate=0.2)
    plan = expected_duration(RULE, [ERRORS, ratings], users=800)

    assert not plan.longer_than_deadline
    assert "thumbs down: judged for harm alone" in plan.text


def test_no_traffic_and_too_few_users_are_never_decided() -> None:
    assert expected_duration(RULE, [], users=800).promote_hours == math.inf
    few = expected_duration(RULE, [ERRORS], users=50)

    assert few.exposure_hours == math.inf
    assert "for ever" in few.text


def test_users_who_are_alike_take_longer() -> None:
    alike = expected_duration(RULE, [replace(ERRORS, intraclass_correlation=0.02)], users=300).metrics[0]
    unlike = expected_duration(RULE, [ERRORS], users=300).metrics[0]

    assert alike.promote_requests > 1.1 * unlike.promote_requests
    assert alike.rollback_requests > 1.1 * unlike.rollback_requests


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

"""The simulation of rollouts, and the errors of the statistics in a few dozen simulated rollouts."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.canary.fixed_size import requests_needed
from benchmarks.canary.running_sums import RunningSums
from benchmarks.canary.scenarios import HEAVY_TAILED, RolloutScenario
from benchmarks.canary.simulation import evidence_of, expose, simulate, simulate_unscreened
from benchmarks.canary.traffic import EqualMetric, TrafficModel, simulate_traffic
from serving.policy import CanaryRule, Metric
from serving.statistics.sequential_test import log_e_not_worse, log_e_worse
from serving.statistics.strata import Evidence, stratified_sums

RULE = CanaryRule(error_margin=0.1, slow_margin=1.0, thumbs_down_margin=1.0, min_requests=50)


def test_the_running_sums_are_those_of_the_rows() -> None:
    rule = CanaryRule(min_requests=40, min_users=3)
    base = simulate_traffic(TrafficModel(rate=0.1, users=50, requests=1_500), np.random.default_rng(4))
    evidence = evidence_of(base, expose(base, rule))
    running = RunningSums(evidence, 50)
    for rows in range(7, 1_500, 31):
        sums, whole = running.until(rows), stratified_sums(_first(evidence, rows))
        assert log_e_worse(sums, rule) == pytest.approx(log_e_worse(whole, rule), abs=1e-8)
        ours = log_e_not_worse(sums, rule, Metric.ERROR)
        assert ours == pytest.approx(log_e_not_worse(whole, rule, Metric.ERROR), abs=1e-8)
        difference, weight, level = running.overall(np.array([rows]))[:, 0]
        assert (difference, weight) == pytest.approx((whole.difference.sum(), whole.weight.sum()))
        assert level == pytest.approx(whole.level.sum())


def _first(evidence: Evidence, rows: int) -> Evidence:
    last = evidence.time[rows - 1]
    return replace(
        evidence,
        time=evidence.time[:rows],
        unit=evidence.unit[:rows],
        candidate=evidence.candidate[:rows],
        bad=evidence.bad[:rows],
        widened=tuple(at for at in evidence.widened if at <= last),
    )


@pytest.mark.parametrize("excess", [0.0, 0.1])
def test_screening_and_running_sums_do_not_change_how_a_rollout_ends(excess: float) -> None:
    for seed in range(3):
        base = simulate_traffic(TrafficModel(rate=0.1, excess=excess, requests=2_500), np.random.default_rng((9, seed)))

        assert simulate(base, RULE, every=50) == simulate_unscreened(base, RULE, every=50)
        assert simulate(base, RULE) == simulate(base, RULE, screened=False)


def test_metrics_with_few_outcomes_are_analysed_together_with_the_others() -> None:
    further = EqualMetric(rate=0.05), EqualMetric(rate=0.2, outcomes=0.1)
    model = TrafficModel(rate=0.05, equal_metrics=further, requests=3_000)
    rule = CanaryRule(error_margin=0.08, slow_margin=0.08, thumbs_down_margin=1.0)
    base = simulate_traffic(model, np.random.default_rng(3))

    assert simulate(base, rule, every=100) == simulate_unscreened(base, rule, every=100)


@pytest.mark.parametrize("excess", [0.0, 0.1])
def test_an_analysis_after_every_request_decides_the_same_and_no_later(excess: float) -> None:
    for seed in range(4):
        base = simulate_traffic(TrafficModel(rate=0.1, excess=excess, requests=2_500), np.random.default_rng((9, seed)))
        rare, often = simulate(base, RULE, every=100), simulate(base, RULE, every=1)

        assert often.end == rare.end
        assert often.requests <= rare.requests


def test_a_candidate_is_worse_by_the_margin_in_every_rollout_however_users_differ() -> None:
    model = replace(HEAVY_TAILED, excess=0.05)
    drawn = [simulate_traffic(model, np.random.default_rng((6, seed))).bad[0].mean(axis=0) for seed in range(40)]
    excess = np.array([candidate - stable for stable, candidate in drawn])

    assert excess.mean() == pytest.approx(0.05, abs=0.005)
    assert excess.min() > 0.03


@pytest.mark.parametrize("correlation", [0.0, 0.02])
def test_a_test_of_fixed_size_has_the_power_it_was_sized_for(correlation: float) -> None:
    model = TrafficModel(rate=0.1, excess=0.1, users=800, intraclass_correlation=correlation)
    scenario = RolloutScenario(name="", truth="worse", model=model)
    size = round(requests_needed(scenario, power=0.9, widened=500))
    shown = [_z(replace(model, requests=size), scenario.rule, seed) > 2.71 for seed in range(150)]

    assert 0.8 < np.mean(shown) < 0.96


def _z(model: TrafficModel, rule: CanaryRule, seed: int) -> float:
    base = simulate_traffic(model, np.random.default_rng((10, seed)))
    sums = stratified_sums(evidence_of(base, expose(base, rule)))
    steps = np.array(rule.steps)
    covariance = np.minimum.outer(steps, steps) - np.outer(steps, steps)
    variance = np.einsum("is,st,it->", sums.residual, covariance, sums.residual)
    return float(sums.difference.sum() / np.sqrt(variance))


@pytest.mark.parametrize("correlation", [0.02, 0.2])
def test_hardly_any_equal_candidate_is_rolled_back_however_users_differ(correlation: float) -> None:
    # Treated as independent, correlation 0.2 rolls back 21 of these 120; at 1%, 5 or more come once in 140.
    model = TrafficModel(rate=0.1, users=100, intraclass_correlation=correlation, tail=1.5, requests=2_000)
    rule = CanaryRule(error_margin=0.1, min_users=5)
    ends = [simulate(simulate_traffic(model, np.random.default_rng((11, seed))), rule).end for seed in range(120)]

    assert ends.count("rolled_back") < 5


def test_hardly_any_candidate_at_the_margin_is_promoted() -> None:
    model = TrafficModel(rate=0.05, excess=0.05, users=300, intraclass_correlation=0.05, requests=3_000)
    rule = CanaryRule(error_margin=0.05)
    ends = [simulate(simulate_traffic(model, np.random.default_rng((12, seed))), rule).end for seed in range(120)]

    assert ends.count("promoted") < 5


def test_the_evidence_for_a_candidate_at_the_margin_is_one_on_average_with_a_few_users_too() -> None:
    # 1.3 where a user with many requests is compared with an estimate that includes this user.
    model = TrafficModel(rate=0.05, excess=0.05, users=40, requests=2_000)
    rule = CanaryRule(error_margin=0.05, min_users=5)
    values = []
    for seed in range(400):
        base = simulate_traffic(model, np.random.default_rng((21, seed)))
        values.append(
            np.exp(log_e_not_worse(stratified_sums(evidence_of(base, expose(base, rule))), rule, Metric.ERROR))
        )

    assert 0.8 < np.mean(values) < 1.15

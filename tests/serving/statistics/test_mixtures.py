"""The mixtures against independent computations of them."""

import math

import numpy as np
import pytest
from scipy import integrate, stats

from serving.statistics.mixtures import (
    Prior,
    gamma,
    half_normal,
    log_assignment_mixture,
    log_mixture,
    log_normal_mixture,
)


@pytest.mark.parametrize("s", [-3.0, 0.0, 4.0, 25.0])
@pytest.mark.parametrize("v", [0.0, 5.0, 80.0])
@pytest.mark.parametrize("rho", [0.5, 20.0])
def test_the_normal_mixture_is_the_integral_over_its_prior(s: float, v: float, rho: float) -> None:
    prior = stats.halfnorm(scale=rho**-0.5)
    peak = max(s / (v + rho), 0.0)
    top = peak * s - peak**2 * v / 2 + prior.logpdf(peak)
    reach = 12 / math.sqrt(v + rho)
    whole, _ = integrate.quad(
        lambda x: math.exp(prior.logpdf(x) + x * s - x * x * v / 2 - top), max(peak - reach, 0), peak + reach, limit=200
    )

    assert log_normal_mixture(s, v, rho) == pytest.approx(top + math.log(whole), abs=1e-6)


@pytest.mark.parametrize("s", [-3.0, 5.0, 20.0, 35.0])
def test_the_mixture_about_one_effect_is_nearly_the_integral_over_its_gamma_prior(s: float) -> None:
    v, prior = 25.0, stats.gamma(4, scale=1 / 4)
    whole, _ = integrate.quad(lambda x: prior.pdf(x) * math.exp(x * s - x * x * v / 2), 0, 12, limit=400, points=[1])

    assert log_mixture(s, v, gamma(4.0, 1.0)) == pytest.approx(math.log(whole), abs=0.05)


@pytest.mark.parametrize("prior", [half_normal(2.0), half_normal(300.0), gamma(4.0, 1.0), gamma(1.0, 0.1)])
def test_the_weights_of_a_prior_add_up_to_one(prior: Prior) -> None:
    assert prior.weights.min() > 0
    assert prior.weights.sum() == pytest.approx(1.0)


@pytest.mark.parametrize("prior", [half_normal(2.0), gamma(4.0, 1.0)])
def test_many_small_users_give_the_mixture_of_a_normal_sum(prior: Prior) -> None:
    users = 20_000
    totals = np.column_stack([np.full(users, 0.5), np.full(users, -0.5)]) * 0.1
    v = users * 0.05**2

    for s in (10.0, 25.0, 40.0):
        exact = log_assignment_mixture(s, totals, np.array([0.5, 0.5]), prior)
        assert exact == pytest.approx(log_mixture(s, v, prior), abs=0.05)
    assert log_mixture(25.0, v, half_normal(2.0)) == pytest.approx(log_normal_mixture(25.0, v, 2.0), abs=0.05)


@pytest.mark.parametrize("prior", [half_normal(1.0), gamma(4.0, 1.0)])
def test_the_mean_of_the_assignment_mixture_at_one_time_is_one_even_if_one_user_outweighs_all(prior: Prior) -> None:
    share, weights = 0.2, np.array([6.0, 1.5, 0.8, 0.3, -0.5, -2.0])
    totals = np.column_stack([weights * (1 - share), -weights * share])
    every = np.array(np.meshgrid(*[[0, 1]] * len(weights))).reshape(len(weights), -1).T
    probability = np.prod(np.where(every == 0, share, 1 - share), axis=1)
    sums = [totals[np.arange(len(weights)), row].sum() for row in every]
    values = [math.exp(log_assignment_mixture(s, totals, np.array([share, 0.8]), prior)) for s in sums]

    assert probability @ values == pytest.approx(1.0, abs=1e-9)


def test_one_user_alone_is_never_more_evidence_than_the_assignment_is_unlikely() -> None:
    for weight in (1.0, 100.0, 10_000.0):
        totals, shares = np.array([[0.9 * weight, -0.1 * weight]]), np.array([0.1, 0.9])
        assert log_assignment_mixture(0.9 * weight, totals, shares, half_normal(1.0)) <= math.log(10) + 1e-9


def test_no_rows_are_no_evidence() -> None:
    assert log_assignment_mixture(0.0, np.zeros((0, 2)), np.array([0.1, 0.9]), half_normal(1.0)) == pytest.approx(0.0)

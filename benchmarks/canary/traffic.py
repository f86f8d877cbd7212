"""Simulated traffic of one rollout: which user sends a request when, and which answers of either version are bad."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from serving.policy import Metric
from serving.statistics.strata import Bools, Floats, Ints

DAY_US = 86_400_000_000
START_US = 1_700_000_000_000_000
METRICS = list(Metric)
Effect = Literal["added", "multiplied", "concentrated"]


@dataclass(frozen=True, kw_only=True, slots=True)
class EqualMetric:
    """A further metric, in which both versions are equal."""

    rate: float
    outcomes: float = 1.0
    """Share of the requests that have an outcome in it: for feedback, those that were rated."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrafficModel:
    """Users and their requests. Rates of bad events are means over the requests, not over the users."""

    rate: float
    """Bad rate of the stable version, in errors."""
    excess: float = 0.0
    """What the candidate adds to it, absolute."""
    effect: Effect = "multiplied"
    """``added``: to every user's rate; ``multiplied``: each rate grows in proportion; ``concentrated``: a fifth of the
    users gets all of it."""
    users: int = 300
    tail: float = 0.0
    """Pareto exponent of the requests per user (1.2: a few users send most); 0: exponentially distributed."""
    intraclass_correlation: float = 0.02
    """Of two requests of one user (beta-distributed rates); 0: all users have the same rate."""
    heavy_users_fail_more: bool = False
    """Whether the users with the most requests are those with the highest rates."""
    daily: bool = False
    """SimulatedTraffic and bad rates vary over the day, in antiphase."""
    outage: bool = False
    """Six hours with three times the bad rate, for both versions."""
    trend: float = 1.0
    """Bad rate at the end over that at the start."""
    requests: int = 10_000
    """Until the deadline."""
    days: float = 7.0
    equal_metrics: tuple[EqualMetric, ...] = ()
    """The metrics after errors, in the order of ``Metric``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SimulatedTraffic:
    """Requests in order of time, with the answers of either arm."""

    time: Ints
    user: Ints
    place: Floats
    """[users] Uniform in 0..1: below the share, the candidate answers the user."""
    bad: NDArray[np.bool_]
    """[metrics, requests, 2] Whether the answers of stable and candidate are bad; only the user's arm counts."""
    outcome: Bools
    """[metrics, requests] Whether the request has an outcome."""


def simulate_traffic(model: TrafficModel, generator: np.random.Generator) -> SimulatedTraffic:
    """Draw the requests of one rollout."""
    weight = _weights(model, generator)
    day = _days(model, generator)
    user = generator.choice(model.users, size=model.requests, p=weight)
    rate = _rates(model, model.rate, weight, generator)
    probability = [_bad_probability(model, day, rate[user], _candidate(model, rate, weight, generator)[user])]
    for metric in model.equal_metrics:
        equal = _rates(model, metric.rate, weight, generator)[user]
        probability.append(_bad_probability(model, day, equal, equal))
    has_outcome = np.array([1.0, *(metric.outcomes for metric in model.equal_metrics)])
    return SimulatedTraffic(
        time=START_US + (day * DAY_US).astype(np.int64),
        user=user,
        place=generator.random(model.users),
        bad=generator.random((len(probability), model.requests, 2)) < np.array(probability),
        outcome=generator.random((len(probability), model.requests)) < has_outcome[:, None],
    )


def arms(traffic: SimulatedTraffic, share: Floats) -> Bools:
    """Which requests the candidate answers, for the share at each of them."""
    return traffic.place[traffic.user] < share


def _weights(model: TrafficModel, generator: np.random.Generator) -> Floats:
    """Each user's share of the requests."""
    requests = generator.pareto(model.tail, model.users) + 0.1 if model.tail else generator.exponential(1, model.users)
    return np.asarray(requests / requests.sum(), np.float64)


def _rates(model: TrafficModel, mean: float, weight: Floats, generator: np.random.Generator) -> Floats:
    """Each user's bad rate."""
    if not model.intraclass_correlation:
        return np.full(model.users, mean)
    strength = 1 / model.intraclass_correlation - 1
    rate = generator.beta(mean * strength, (1 - mean) * strength, model.users)
    if model.heavy_users_fail_more:
        rate = np.sort(rate)[np.argsort(np.argsort(weight))]
    return _scaled(rate, weight, mean)


def _scaled(rate: Floats, weight: Floats, mean: float) -> Floats:
    """Rates in proportion to these, none above 1, with exactly this mean over the requests."""
    certain = np.zeros(len(rate), bool)
    while True:
        scale = (mean - weight[certain].sum()) / (weight @ np.where(certain, 0, rate))
        more = certain | (rate * scale > 1)
        if (more == certain).all():
            return np.where(certain, 1.0, rate * scale)
        certain = more


def _days(model: TrafficModel, generator: np.random.Generator) -> Floats:
    """Time of each request, in days; more of them by day than by night."""
    if not model.daily:
        return np.sort(generator.random(model.requests)) * model.days
    grid = np.linspace(0, model.days, 2_000)
    intensity = 1 + 0.8 * np.sin(2 * np.pi * grid)
    cumulative = np.cumsum(intensity) / intensity.sum()
    return np.interp(np.sort(generator.random(model.requests)), cumulative, grid)


def _time_factor(model: TrafficModel, day: Floats) -> Floats:
    """Factor of all bad rates at each time; about 1 on average."""
    factor = np.ones(len(day))
    if model.daily:
        factor *= 1 - 0.5 * np.sin(2 * np.pi * day)
    if model.outage:
        factor *= np.where((day > 0.5) & (day < 0.75), 3.0, 1.0)
    if model.trend != 1:
        factor *= np.interp(day, [0, model.days], [2 / (1 + model.trend), 2 * model.trend / (1 + model.trend)])
    return factor


def _bad_probability(model: TrafficModel, day: Floats, stable: Floats, candidate: Floats) -> Floats:
    """[requests, 2] Probability of a bad answer. An excess added to every user's rate does not vary over time."""
    factor, added = _time_factor(model, day), model.effect == "added"
    both = [stable * factor, stable * factor + (candidate - stable) if added else candidate * factor]
    return np.clip(np.column_stack(both), 0, 1)


def _candidate(model: TrafficModel, stable: Floats, weight: Floats, generator: np.random.Generator) -> Floats:
    """Each user's bad rate with the candidate."""
    if model.effect == "added":
        return stable + model.excess
    if model.effect == "concentrated":
        hit = np.isin(np.arange(model.users), generator.permutation(model.users)[: model.users // 5])
        return stable + hit * model.excess / (weight @ hit)
    return _scaled(stable, weight, model.rate + model.excess)

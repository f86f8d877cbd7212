"""Simulated interactions as columns, one element per request, from a seed: users, days and weeks of different rates.

Time is in whole seconds since ``START``, a Monday. A change is a function from traffic to traffic, so that a
scenario is a list of changes.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np

START = datetime(2026, 1, 5, tzinfo=UTC)
AGENTS = ("auditor", "bruno", "jamie", "mary-kay")
HOUR_S, DAY_S = 3600, 86_400
DAILY = 1 + 0.8 * np.sin((np.arange(24) - 9) * np.pi / 12)
"""Requests of an hour, relative to the mean hour."""
WEEKLY = np.array([1.1, 1.1, 1.1, 1.1, 1.1, 0.8, 0.7])


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """Requests in the order of their event time."""

    at: np.ndarray
    landed: np.ndarray
    """When the row landed in the lake."""
    agent: np.ndarray
    user: np.ndarray
    query: np.ndarray
    """Characters."""
    response: np.ndarray
    latency_ms: np.ndarray
    error: np.ndarray
    down: np.ndarray
    """1 bad rating, 0 good rating, -1 not rated."""

    def __len__(self) -> int:
        return len(self.at)

    def take(self, where: np.ndarray) -> "Traffic":
        """Some of the requests."""
        return Traffic(**{name: getattr(self, name)[where] for name in self.__dataclass_fields__})

    def sorted(self) -> "Traffic":
        """In the order of their event time again."""
        return self.take(np.argsort(self.at, kind="stable"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """The parameters of steady traffic."""

    days: int
    seed: int = 0
    daily_calls: float = 600.0
    users: int = 150
    user_spread: float = 1.0
    """Shape of the gamma distribution of the users' rates: 1 means that some send a hundred times as many as others."""
    error_rate: float = 0.05
    error_spread: float = 0.0
    """Variance of the error rate from day to day, relative to its square: 0 is Poisson, 0.02 makes counts vary about
    twice as much at 50 a day."""
    weekly: np.ndarray | None = None
    mix: tuple[float, ...] = (0.3, 0.3, 0.2, 0.2)
    weekend_mix: tuple[float, ...] = (0.25, 0.3, 0.25, 0.2)


def steady(recipe: Recipe) -> Traffic:
    """Traffic without changes other than hours, weekdays, users and chance."""
    rng = np.random.default_rng(recipe.seed)
    weekly = WEEKLY if recipe.weekly is None else recipe.weekly
    hours = np.arange(recipe.days * 24)
    noise = rng.gamma(8, 1 / 8, len(hours))
    mean = recipe.daily_calls / 24 * DAILY[hours % 24] * weekly[hours // 24 % 7] / weekly.mean() * noise
    return requests(recipe, rng.poisson(mean), rng)


def requests(recipe: Recipe, hourly: np.ndarray, rng: np.random.Generator) -> Traffic:
    """This number of requests in each hour, by the users of the recipe to its agents."""
    hour = np.repeat(np.arange(len(hourly)), hourly)
    count, day = len(hour), hour // 24
    at = hour * HOUR_S + rng.integers(0, HOUR_S, count)
    mixes = np.cumsum([recipe.mix, recipe.weekend_mix], axis=1)[(day % 7 >= 5).astype(int)]
    agent = np.minimum((rng.random(count)[:, None] > mixes).sum(axis=1), len(AGENTS) - 1)
    user = _users(recipe, day, rng)
    longer = rng.lognormal(0, 0.25, recipe.users)[user]
    days = day.max(initial=0) + 1
    bad_day = rng.gamma(1 / recipe.error_spread, recipe.error_spread, days) if recipe.error_spread else np.ones(days)
    worse = np.array([0.6, 1.0, 1.2, 1.4]) / 1.0
    failing = recipe.error_rate * (worse / (worse * recipe.mix).sum())[agent] * bad_day[day]
    error = rng.random(count) < failing
    rated = rng.random(count) < 0.3
    down = np.where(rated, rng.random(count) < 0.15, -1).astype(np.int8)
    order = np.argsort(at, kind="stable")
    return Traffic(
        at=at,
        landed=at + rng.integers(5, 300, count),
        agent=agent,
        user=user,
        query=np.round(90 * longer * rng.lognormal(0, 0.5, count)),
        response=np.round(400 * rng.lognormal(0, 0.6, count)),
        latency_ms=np.round(np.where(error, 40, 900 * rng.lognormal(0, 0.5, count))),
        error=error,
        down=down,
    ).take(order)


def _users(recipe: Recipe, day: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The user of each request: users differ in their rates and are active on some days only."""
    rates = rng.gamma(recipe.user_spread, 1, recipe.users) + 0.02
    user = np.zeros(len(day), int)
    bounds = np.searchsorted(day, np.arange(day.max(initial=0) + 2))
    for low, high in pairwise(bounds):
        active = rates * (rng.random(recipe.users) < 0.6)
        user[low:high] = rng.choice(recipe.users, high - low, p=active / active.sum()) if active.any() else 0
    return user


def seconds(when: datetime) -> float:
    """Seconds since ``START``."""
    return (when - START).total_seconds()


def instant(at: float) -> datetime:
    """The time this many seconds after ``START``."""
    return START + timedelta(seconds=at)


def during(traffic: Traffic, start_day: float, end_day: float = np.inf) -> np.ndarray:
    """A mask of the requests in that time."""
    return (traffic.at >= start_day * DAY_S) & (traffic.at < end_day * DAY_S)


def failing(
    traffic: Traffic, factor: float, start_day: float, end_day: float = np.inf, ramp_days: float = 0, seed: int = 0
) -> Traffic:
    """Calls fail ``factor`` times as often, at once or with a ramp over some days."""
    rng, affected = np.random.default_rng(seed), during(traffic, start_day, end_day)
    part = np.clip((traffic.at / DAY_S - start_day) / ramp_days, 0, 1) if ramp_days else 1.0
    rate = traffic.error[affected].mean()
    extra = np.clip(rate * (factor - 1) / (1 - rate), 0, 1) * part
    return replace(traffic, error=traffic.error | (affected & (rng.random(len(traffic)) < extra)))


def displeased(traffic: Traffic, share: float, start_day: float, end_day: float = np.inf, seed: int = 0) -> Traffic:
    """This share of the ratings is bad."""
    rng, affected = np.random.default_rng(seed), during(traffic, start_day, end_day) & (traffic.down >= 0)
    return replace(traffic, down=np.where(affected, rng.random(len(traffic)) < share, traffic.down).astype(np.int8))


def longer(traffic: Traffic, sigma: float, start_day: float, end_day: float = np.inf, ramp_days: float = 0) -> Traffic:
    """Queries are longer by ``sigma`` standard deviations, at once or with a ramp over some days."""
    affected = during(traffic, start_day, end_day)
    part = np.clip((traffic.at / DAY_S - start_day) / ramp_days, 0, 1) if ramp_days else 1.0
    return replace(traffic, query=np.where(affected, traffic.query + sigma * traffic.query.std() * part, traffic.query))


def late(traffic: Traffic, share: float, hours: float, seed: int = 0) -> Traffic:
    """This share of the rows lands up to ``hours`` later."""
    rng = np.random.default_rng(seed)
    held = rng.random(len(traffic)) < share
    return replace(traffic, landed=traffic.landed + np.where(held, rng.uniform(0, hours * HOUR_S, len(traffic)), 0))


def skewed(traffic: Traffic, user: int, hours: float) -> Traffic:
    """One user's clock is wrong. Rows from the future are quarantined when they land."""
    at = traffic.at + np.where(traffic.user == user, int(hours * HOUR_S), 0)
    return replace(traffic, at=at).take((at <= traffic.landed) & (at >= 0)).sorted()

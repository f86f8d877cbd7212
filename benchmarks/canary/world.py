"""Traffic of one rollout: who asks when, and what goes badly with either version."""

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
class Also:
    """A further metric, in which both versions are equal."""

    rate: float
    outcomes: float = 1.0
    """Share of the requests that have an outcome in it: of thumbs, those that were rated."""


@dataclass(frozen=True, kw_only=True, slots=True)
class World:
    """Users and their requests. The rates of bad events are those of the requests, whoever made them."""

    rate: float
    """Bad rate of the stable version, in errors."""
    excess: float = 0.0
    """What the candidate adds to it, absolute."""
    effect: Effect = "multiplied"
    """``added``: to everybody's rate; ``multiplied``: each rate grows in proportion; ``concentrated``: a fifth of the
    users bears all of it."""
    users: int = 300
    tail: float = 0.0
    """Pareto exponent of the users' requests (1.2: a few ask most); 0: exponentially distributed."""
    intraclass_correlation: float = 0.02
    """Correlation of two requests of one user (beta-distributed rates); 0: all users have one rate."""
    heavy_fail_more: bool = False
    """Whether the users who ask most are those with the highest rates."""
    daily: bool = False
    """Traffic and bad rates swing over the day, in antiphase."""
    outage: bool = False
    """Six hours in which everything goes badly three times as often, for both versions."""
    trend: float = 1.0
    """Bad rate at the end over that at the start."""
    requests: int = 10_000
    """Until the deadline."""
    days: float = 7.0
    also: tuple[Also, ...] = ()
    """The metrics after errors, in their order."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Traffic:
    """Requests in order of time. ``bad`` has what each arm would have done."""

    time: Ints
    user: Ints
    place: Floats
    """[users]"""
    bad: NDArray[np.bool_]
    """[metrics, requests, 2]: what stable and candidate would have done; only the one that answered is looked at."""
    outcome: Bools
    """[metrics, requests]: whether there is one."""


def traffic(world: World, generator: np.random.Generator) -> Traffic:
    """Draw the requests of one rollout."""
    weight = _weights(world, generator)
    day = _days(world, generator)
    user = generator.choice(world.users, size=world.requests, p=weight)
    rate = _rates(world, world.rate, weight, generator)
    likely = [_likely(world, day, rate[user], _candidate(world, rate, weight, generator)[user])]
    for one in world.also:
        equal = _rates(world, one.rate, weight, generator)[user]
        likely.append(_likely(world, day, equal, equal))
    chance = np.array([1.0, *(one.outcomes for one in world.also)])
    return Traffic(
        time=START_US + (day * DAY_US).astype(np.int64),
        user=user,
        place=generator.random(world.users),
        bad=generator.random((len(likely), world.requests, 2)) < np.array(likely),
        outcome=generator.random((len(likely), world.requests)) < chance[:, None],
    )


def arms(drawn: Traffic, share: Floats) -> Bools:
    """Which requests the candidate answers, for the share at each of them."""
    return drawn.place[drawn.user] < share


def _weights(world: World, generator: np.random.Generator) -> Floats:
    """How much each user asks; adds up to 1."""
    asks = generator.pareto(world.tail, world.users) + 0.1 if world.tail else generator.exponential(1, world.users)
    return np.asarray(asks / asks.sum(), np.float64)


def _rates(world: World, mean: float, weight: Floats, generator: np.random.Generator) -> Floats:
    """Each user's bad rate."""
    if not world.intraclass_correlation:
        return np.full(world.users, mean)
    strength = 1 / world.intraclass_correlation - 1
    rate = generator.beta(mean * strength, (1 - mean) * strength, world.users)
    if world.heavy_fail_more:
        rate = np.sort(rate)[np.argsort(np.argsort(weight))]
    return _scaled(rate, weight, mean)


def _scaled(rate: Floats, weight: Floats, mean: float) -> Floats:
    """Rates in proportion to these, none above 1, of exactly this mean over the requests."""
    certain = np.zeros(len(rate), bool)
    while True:
        scale = (mean - weight[certain].sum()) / (weight @ np.where(certain, 0, rate))
        more = certain | (rate * scale > 1)
        if (more == certain).all():
            return np.where(certain, 1.0, rate * scale)
        certain = more


def _days(world: World, generator: np.random.Generator) -> Floats:
    """When each request comes, in days; more of them by day than by night."""
    if not world.daily:
        return np.sort(generator.random(world.requests)) * world.days
    grid = np.linspace(0, world.days, 2_000)
    intensity = 1 + 0.8 * np.sin(2 * np.pi * grid)
    cumulative = np.cumsum(intensity) / intensity.sum()
    return np.interp(np.sort(generator.random(world.requests)), cumulative, grid)


def _swing(world: World, day: Floats) -> Floats:
    """What the time does to everybody's bad rate; about 1 on average."""
    swing = np.ones(len(day))
    if world.daily:
        swing *= 1 - 0.5 * np.sin(2 * np.pi * day)
    if world.outage:
        swing *= np.where((day > 0.5) & (day < 0.75), 3.0, 1.0)
    if world.trend != 1:
        swing *= np.interp(day, [0, world.days], [2 / (1 + world.trend), 2 * world.trend / (1 + world.trend)])
    return swing


def _likely(world: World, day: Floats, stable: Floats, candidate: Floats) -> Floats:
    """[requests, 2] Chance of a bad answer. What the candidate adds to everybody does not swing."""
    swing, added = _swing(world, day), world.effect == "added"
    both = [stable * swing, stable * swing + (candidate - stable) if added else candidate * swing]
    return np.clip(np.column_stack(both), 0, 1)


def _candidate(world: World, stable: Floats, weight: Floats, generator: np.random.Generator) -> Floats:
    """Each user's bad rate with the candidate."""
    if world.effect == "added":
        return stable + world.excess
    if world.effect == "concentrated":
        hit = np.isin(np.arange(world.users), generator.permutation(world.users)[: world.users // 5])
        return stable + hit * world.excess / (weight @ hit)
    return _scaled(stable, weight, world.rate + world.excess)

"""Has a rate of bad events risen? Exact for small counts, honest about what it cannot see and does not know.

Two counts are compared given the reference's: if both times have one rate, the current count is negative binomial,
which is the conditional binomial test of two Poisson rates (Przyborowski and Wilenski 1940, Biometrika 31(3/4)) seen
from the other side, and takes a dispersion without a change of form (McCullagh and Nelder 1989, section 6.2.3). The
dispersion is not known but estimated, from few days after an incident, so the chance is averaged over what it may be:
a test that takes the estimate for the truth raises ten times the alarms that it says.

Looks at windows that overlap are nearly one look, and their alarms come in clumps: the first starts a training, the
others are its echo. What is bounded is the number of clumps.
"""

import functools
import math
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from models.triggers.counts import ALL, DAY, Counts, Rate, Spread, total

POWER = 0.95
"""With which a rise is called detectable, and by when a delay is predicted."""
DOUBLED, EVEN = 2.0, 0.5
SLICE_SHARE, WINDOW_SHARE = 0.9, 0.9
"""Of the false alarms, the share of the slice over all agents, and that of the shortest window; the rest is parted
evenly. Most incidents hit all and at once, and these are to be seen soonest."""
YEAR = timedelta(days=365)
DISPERSIONS = np.geomspace(1, 64, 20)
"""What the dispersion may be. Beforehand the chance that it lies above x is 1/x."""
RISES = np.concatenate([np.arange(0.02, 1, 0.02), np.geomspace(1, 1000, 80)])
"""Among which the smallest that can be seen is searched."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Compared:
    """One slice in one window against the reference."""

    slice: str
    days: float
    reference: Rate
    current: Rate
    spread: Spread
    level: float
    chance: float
    """Of a count this high if the rate were unchanged."""

    @property
    def rise(self) -> float:
        """Relative rise; infinite where nothing was bad before."""
        before, now = self.reference.value, self.current.value
        return now / before - 1 if before else math.inf if now else 0.0

    def fires(self, rise: float) -> bool:
        """Risen by more than ``rise``, and statistically real."""
        return self.rise > rise and self.chance < self.level


@dataclass(frozen=True, kw_only=True, slots=True)
class Reference:
    """The time that a window is compared with."""

    start: datetime
    end: datetime
    spread_start: datetime
    """The days from here on tell the dispersion."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """How many false alarms a year there may be, and who may raise them."""

    false_alarms: float
    every: timedelta
    """From look to look."""
    windows: tuple[timedelta, ...]
    """All that the rule has, also those that do not fit yet."""
    reference: timedelta
    """What they are compared with is as long as this."""

    def level(self, window: timedelta, share: float = 1.0) -> float:
        """Chance from which on a window raises an alarm, where it has this share of its window's."""
        first, count = window == self.windows[0], len(self.windows)
        part = 1.0 if count == 1 else WINDOW_SHARE if first else (1 - WINDOW_SHARE) / (count - 1)
        return level(self.false_alarms * part * share, window, self.every, self.reference)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sight:
    """What the test can see at the present traffic."""

    smallest_rise: float
    """Relative rise that the shortest window shows, with power 0.95; infinite where none is shown."""
    days_to_doubled: float
    """Days until a doubled rate is shown, with power 0.95; infinite where no window shows it."""


@functools.cache
def level(alarms: float, window: timedelta, every: timedelta, reference: timedelta) -> float:
    """Chance for each look at which windows that slide raise so many clumps of alarms a year, never under that of
    looks that have nothing in common.

    A sum over a sliding window is nearly Gaussian, with a correlation that falls linearly to 0 over the window's
    length; at z standard deviations it has z phi(z) v(z sqrt(2 every / window)) clumps a window, and v(x) is about
    exp(-0.583 x) (Siegmund 1985, Sequential Analysis, sections 4.2 and 10.2). Where a reference right before the window
    slides along, the difference of the two forgets itself sooner, by (1 + r + r^2) / (1 + r) for a ratio r of lengths.
    """
    from scipy.special import ndtr

    ratio = window / reference
    sooner = (1 + ratio + ratio**2) / (1 + ratio)
    per_window = min(alarms * (window / YEAR) / sooner, 0.05)  # the tail alone has this form
    step = 0.583 * math.sqrt(2 * min(every / window, 1.0))
    z = 3.5
    for _ in range(20):  # Newton, in logarithms
        excess = math.log(z) - z * z / 2 - math.log(2 * math.pi) / 2 - step * z - math.log(per_window)
        z = max(1.0, z + excess / (z + step - 1 / z / 2))
    return max(alarms * (every / YEAR), float(ndtr(-z)))


def chance_of_more(reference: Rate, current: Rate, spread: Spread | None = None) -> float:
    """Chance of at least the current count, given the reference's, if both have one rate (one-sided).

    Without a spread the counts are Poisson, and the test is exact.
    """
    if not current.bad or not current.calls or not reference.calls:
        return 1.0
    phi, weight = (np.ones(1), np.ones(1)) if spread is None else _likely([spread])
    return float(_chances(phi, weight, *(np.array([x]) for x in (_flat(reference), _flat(current)))).item())


def compare(
    counts: Counts, end: datetime, references: Mapping[timedelta, Reference], budget: Budget, *, sliced: bool = True
) -> list[Compared]:
    """Every slice in every window that ends at ``end``, the shortest window and the overall slice first; none where
    the reference has no calls.

    Args:
        counts: of the windows and their references. An agent that the reference does not know has no rate to rise from.
        end: end of the windows (UTC).
        references: the windows that fit, in rising order, and what each is compared with.
        budget: the false alarms that all together may raise.
        sliced: compare agents too, not only all together.
    """
    found: list[tuple[str, timedelta, Rate, Rate, Spread, float]] = []
    spreads: dict[tuple[datetime, datetime], dict[str, Spread]] = {}
    for window, against in references.items():
        if not (before := counts.rates(against.start, against.end)):
            continue
        now = {name: rate for name, rate in counts.rates(end - window, end).items() if name in before}
        days = (against.spread_start, against.end)
        told = spreads.setdefault(days, counts.spreads(*days))
        agents = sorted(before) if sliced else []
        share = SLICE_SHARE if agents else 1.0
        pair = (standardized(before, now), total(now))
        found.append((ALL, window, *pair, told.get(ALL, Spread()), budget.level(window, share)))
        for name in agents:
            own = (1 - SLICE_SHARE) / len(agents)
            pair = (before[name], now.get(name, Rate(calls=0, bad=0)))
            found.append((name, window, *pair, told.get(name, Spread()), budget.level(window, own)))
    if not found:
        return []
    phi, weight = _likely([one[4] for one in found])
    sides = (np.array([_flat(one[place]) for one in found]) for place in (2, 3))  # type: ignore[arg-type]
    chances = _chances(phi, weight, *sides)
    return [
        Compared(
            slice=name, days=window / DAY, reference=then, current=own, spread=told, level=limit, chance=float(chance)
        )
        for (name, window, then, own, told, limit), chance in zip(found, chances, strict=True)
    ]


def standardized(reference: dict[str, Rate], current: dict[str, Rate]) -> Rate:
    """The reference's rate for the current mix of agents, over as many calls as give it its true uncertainty.

    When an agent that fails more often gets more of the traffic, the overall rate rises and nothing has got worse.
    """
    calls = total(current).calls
    weights = {name: rate.calls / calls for name, rate in current.items() if name in reference} if calls else {}
    known = sum(weights.values())
    if not known:
        return total(reference)
    rate = sum(weight / known * reference[name].value for name, weight in weights.items())
    variance = sum((w / known) ** 2 * reference[name].bad / reference[name].calls ** 2 for name, w in weights.items())
    known_by = rate / variance if variance else total(reference).calls
    return Rate(calls=known_by, bad=rate * known_by)


def sees_doubled(compared: Sequence[Compared]) -> bool:
    """Whether one of these windows would rather show a doubled rate than not, with the calls that it has."""
    power = _powers(compared, [one.current.calls for one in compared], [one.level for one in compared])
    return bool((power(DOUBLED) >= EVEN).any())


def sight(compared: Sequence[Compared], daily_calls: float, budget: Budget) -> Sight:
    """What the overall slice's test can see: the smallest rise in its first window, and how long a doubled rate takes.

    Args:
        compared: as ``compare`` returned it.
        daily_calls: the present traffic.
        budget: of the rule.
    """
    first = next(one for one in compared if one.slice == ALL)
    share = 1.0 if all(one.slice == ALL for one in compared) else SLICE_SHARE
    days = [window / DAY for window in budget.windows]
    levels = [budget.level(window, share) for window in budget.windows]
    power = _powers([first] * len(days), [daily_calls * count for count in days], levels)
    place = bisect_left(RISES, POWER, key=lambda rise: power(1 + rise)[0])
    smallest = float(RISES[place]) if place < len(RISES) else math.inf
    return Sight(
        smallest_rise=smallest if (1 + smallest) * first.reference.value <= 1 else math.inf,
        days_to_doubled=next((n for n, own in zip(days, power(DOUBLED), strict=True) if own >= POWER), math.inf),
    )


def _powers(
    compared: Sequence[Compared], calls: Sequence[float], levels: Sequence[float]
) -> Callable[[float], np.ndarray]:
    """For each comparison, the chance that so many calls at a multiple of the reference's rate are shown to have risen.

    How well the reference knows its own rate, and its dispersion, is part of the chance.
    """
    from scipy.special import betainc

    phi, weight = _likely([one.spread for one in compared])
    reference, current = np.array([_flat(one.reference) for one in compared]), np.array(calls, float)
    critical = _critical(phi, weight, reference, current, np.array(levels))
    known, expected = reference[:, 1], current * reference[:, 1] / np.maximum(reference[:, 0], 1)

    def power(factor: float) -> np.ndarray:
        size = np.maximum(known[:, None], 1e-9) / phi
        mean = factor * expected[:, None] / phi
        found: np.ndarray = (weight * betainc(critical[:, None] / phi, size, mean / (mean + size))).sum(axis=1)
        return np.where((known > 0) & (critical < current), found, 0.0)

    return power


def _critical(
    phi: np.ndarray, weight: np.ndarray, reference: np.ndarray, calls: np.ndarray, levels: np.ndarray
) -> np.ndarray:
    """For each comparison the smallest count that is significant at its level."""
    expected = calls * reference[:, 1] / np.maximum(reference[:, 0], 1)
    low, high = np.maximum(expected, 0.5), np.maximum(calls, 1.0)
    for _ in range(14):
        middle = np.sqrt(low * high)
        chances = _chances(phi, weight, reference, np.stack([calls, middle], axis=1))
        low, high = np.where(chances < levels, low, middle), np.where(chances < levels, middle, high)
    return high


def _likely(spreads: Sequence[Spread]) -> tuple[np.ndarray, np.ndarray]:
    """What each dispersion may be and how likely that is after the days that were seen, [1, values], [spreads, values]:
    Pearson's statistic over the dispersion is chi-square.
    """
    statistic, freedom = (
        np.array([getattr(one, name) for one in spreads], float)[:, None] for name in ("statistic", "freedom")
    )
    top = float(np.max(statistic / np.maximum(freedom, 1)))
    phi = DISPERSIONS if top < 16 else np.geomspace(1, 4 * top, len(DISPERSIONS))
    logs = -(1 + freedom / 2) * np.log(phi) - statistic / 2 / phi
    weight = np.exp(logs - logs.max(axis=1, keepdims=True))
    weight[:, [0, -1]] /= 2
    return phi[None, :], weight / weight.sum(axis=1, keepdims=True)


def _chances(phi: np.ndarray, weight: np.ndarray, reference: np.ndarray, current: np.ndarray) -> np.ndarray:
    """``chance_of_more`` of each row of (calls, bad), averaged over the dispersions.

    A share cannot vary as a count does because it ends at 1; counts are divided by what it varies less.
    """
    from scipy.special import betainc

    (calls_before, bad_before), (calls, bad) = reference.T, current.T
    scale = np.maximum(1 - (bad_before + bad) / np.maximum(calls_before + calls, 1), 1e-3)
    ratio = (calls / np.maximum(calls_before, 1e-9))[:, None]
    varies = phi * (1 + ratio)
    size = (bad_before / scale + 1)[:, None] * ratio / np.maximum(varies - 1, 1e-12)
    found: np.ndarray = (weight * betainc(np.maximum(bad / scale, 1e-9)[:, None], size, 1 - 1 / varies)).sum(axis=1)
    return np.where((bad > 0) & (calls > 0) & (calls_before > 0), found, 1.0)


def _flat(rate: Rate) -> tuple[float, float]:
    return rate.calls, rate.bad

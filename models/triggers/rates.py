"""Has a rate of bad events risen? Exact for small counts, honest about what it cannot see.

Two counts are compared given their sum: if both windows have one rate, the bad events of the current one are binomial
with its share of the calls (Przyborowski and Wilenski 1940, Biometrika 31(3/4)). Bad events come in bunches (an outage,
a user who tries again), so counts are first divided by the dispersion of the reference's daily counts, as in
quasi-likelihood (McCullagh and Nelder 1989, section 4.5). The incomplete beta function takes such fractions.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

POWER = 0.95
"""With which a rise is called detectable, and by when a delay is predicted."""
DOUBLED, EVEN = 2.0, 0.5
SLICE_SHARE, WINDOW_SHARE = 0.8, 0.8
"""Of the false alarms, the share of the slice over all agents, and that of the shortest window; the rest is parted
evenly. Most incidents hit all and at once, and these are to be seen soonest."""
ALL = "all"

HOURLY = pa.schema({"hour": pa.timestamp("us", tz="UTC"), "slice": pa.string(), "calls": pa.int64(), "bad": pa.int64()})
"""What is counted: calls (or ratings) and bad ones by full hour and agent."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rate:
    """Bad events among calls; fractions where it is put together from slices."""

    calls: float
    bad: float

    @property
    def value(self) -> float:
        """The rate, 0 where there were no calls."""
        return self.bad / self.calls if self.calls else 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Compared:
    """One slice in one window against the reference."""

    slice: str
    days: float
    reference: Rate
    current: Rate
    dispersion: float
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
class Sight:
    """What the test can see at the present traffic."""

    smallest_rise: float
    """Relative rise that the shortest window shows, with power 0.95; infinite where none is shown."""
    days_to_doubled: float
    """Days until a doubled rate is shown, with power 0.95; infinite where no window shows it."""


def chance_of_more(reference: Rate, current: Rate, dispersion: float = 1.0) -> float:
    """Chance of at least the current count, given both, if the two windows had one rate (one-sided)."""
    from scipy.special import betainc

    if not current.bad or not current.calls or not reference.calls:
        return 1.0
    scale = _scale(reference, current, dispersion)
    share = current.calls / (current.calls + reference.calls)
    return float(betainc(current.bad / scale, reference.bad / scale + 1, share))


def dispersion_of(hourly: pa.Table) -> float:
    """Pearson's statistic of the daily counts over its degrees of freedom, at least 1; over all slices together."""
    days = hourly.append_column("day", pc.floor_temporal(hourly["hour"], unit="day")).group_by("day")
    summed = days.aggregate([("calls", "sum"), ("bad", "sum")])
    calls, bad = (summed[name].to_numpy().astype(float) for name in ("calls_sum", "bad_sum"))
    calls, bad = calls[calls > 0], bad[calls > 0]
    rate = bad.sum() / calls.sum() if len(calls) else 0.0
    if len(calls) < 3 or not 0 < rate < 1:
        return 1.0
    statistic = float(((bad - calls * rate) ** 2 / (calls * rate * (1 - rate))).sum())
    return max(1.0, statistic / (len(calls) - 1))


def compare(
    reference: pa.Table, current: pa.Table, end: datetime, windows: Sequence[timedelta], level: float
) -> list[Compared]:
    """Every slice in every window that ends at ``end``, the shortest window and the overall slice first.

    Args:
        reference: ``HOURLY`` rows of the time before the cut.
        current: ``HOURLY`` rows since. An agent that the reference does not know has no rate to rise from.
        end: end of the windows (UTC).
        windows: their lengths, in rising order.
        level: chance of any false alarm in this look, parted over slices and windows.
    """
    before, spread = _by_slice(reference), dispersion_of(reference)
    found = []
    for window in windows:
        recent = _by_slice(_since(current, end - window))
        now = {name: rate for name, rate in recent.items() if name in before}
        pairs = {ALL: (standardized(before, now), _total(now))}
        pairs |= {name: (before[name], now.get(name, _total({}))) for name in sorted(before)}
        share = level * _part(WINDOW_SHARE, window == windows[0], len(windows))
        for name, (then, own) in pairs.items():
            found.append(
                Compared(
                    slice=name,
                    days=window / timedelta(days=1),
                    reference=then,
                    current=own,
                    dispersion=spread,
                    level=share * _part(SLICE_SHARE, name == ALL, len(pairs)),
                    chance=chance_of_more(then, own, spread),
                )
            )
    return found


def standardized(reference: dict[str, Rate], current: dict[str, Rate]) -> Rate:
    """The reference's rate for the current mix of agents, over as many calls as give it its true uncertainty.

    When an agent that fails more often gets more of the traffic, the overall rate rises and nothing has got worse.
    """
    total = sum(rate.calls for rate in current.values())
    weights = {name: rate.calls / total for name, rate in current.items() if name in reference} if total else {}
    known = sum(weights.values())
    if not known:
        return _total(reference)
    rate = sum(weight / known * reference[name].value for name, weight in weights.items())
    variance = sum((w / known) ** 2 * reference[name].bad / reference[name].calls ** 2 for name, w in weights.items())
    calls = rate / variance if variance else _total(reference).calls
    return Rate(calls=calls, bad=rate * calls)


def sees_doubled(one: Compared) -> bool:
    """Whether this window would rather show a doubled rate than not, with the calls that it has."""
    return _power(one, one.current.calls, DOUBLED) >= EVEN


def sight(compared: Sequence[Compared], daily_calls: float, windows: Sequence[timedelta]) -> Sight:
    """What the overall slice's test can see: the smallest rise in its first window, and how long a doubled rate takes.

    Args:
        compared: as ``compare`` returned it.
        daily_calls: the present traffic.
        windows: all that the rule has, also those that do not fit yet.
    """
    first = next(one for one in compared if one.slice == ALL)
    later = [
        replace(first, days=window / timedelta(days=1), level=_later(first, window, windows)) for window in windows
    ]
    days = next((one.days for one in later if _power(one, daily_calls * one.days, DOUBLED) >= POWER), math.inf)
    return Sight(smallest_rise=_smallest_rise(first, daily_calls * first.days), days_to_doubled=days)


def _later(first: Compared, window: timedelta, windows: Sequence[timedelta]) -> float:
    """The level of another window, from the first one's."""
    count = len(windows)
    return first.level / _part(WINDOW_SHARE, True, count) * _part(WINDOW_SHARE, window == windows[0], count)


def _smallest_rise(one: Compared, calls: float) -> float:
    low, high = 1.0, 1.0
    while _power(one, calls, high) < POWER:
        low, high = high, high * 2
        if high > 1024 or high * one.reference.value > 1:
            return math.inf
    for _ in range(20):
        middle = (low + high) / 2
        low, high = (low, middle) if _power(one, calls, middle) >= POWER else (middle, high)
    return high - 1


def _power(one: Compared, calls: float, factor: float) -> float:
    """Chance that this window, with so many calls at ``factor`` times the reference's rate, is shown to have risen."""
    from scipy.stats import poisson

    expected = factor * one.reference.value * calls
    if not expected:
        return 0.0
    critical = _critical(one, calls)
    return float(poisson.sf(math.ceil(critical / one.dispersion) - 1, expected / one.dispersion))


def _critical(one: Compared, calls: float) -> float:
    """Smallest count that is significant at the level."""
    low, high = 0.0, max(calls, 1.0)
    for _ in range(40):
        middle = (low + high) / 2
        chance = chance_of_more(one.reference, Rate(calls=calls, bad=middle), one.dispersion)
        low, high = (low, middle) if chance < one.level else (middle, high)
    return high


def _scale(reference: Rate, current: Rate, dispersion: float) -> float:
    """Variance over mean of a count: the dispersion, less what a share cannot vary because it ends at 1."""
    pooled = (reference.bad + current.bad) / (reference.calls + current.calls)
    return dispersion * max(1 - pooled, 1e-3)


def _since(hourly: pa.Table, start: datetime) -> pa.Table:
    return hourly.filter(pc.greater_equal(hourly["hour"], pa.scalar(start, HOURLY.field("hour").type)))


def _by_slice(hourly: pa.Table) -> dict[str, Rate]:
    summed = hourly.group_by("slice").aggregate([("calls", "sum"), ("bad", "sum")]).to_pylist()
    return {row["slice"]: Rate(calls=row["calls_sum"], bad=row["bad_sum"]) for row in summed if row["calls_sum"]}


def _total(rates: dict[str, Rate]) -> Rate:
    return Rate(calls=sum(rate.calls for rate in rates.values()), bad=sum(rate.bad for rate in rates.values()))


def _part(share: float, first: bool, count: int) -> float:
    if count == 1:
        return 1.0
    return share if first else (1 - share) / (count - 1)

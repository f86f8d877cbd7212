"""Calls and bad ones by hour and agent, dense, so that a look sums windows of them and filters no table.

Bad events come in bunches: an outage, a user who tries again. How much more a day's count varies than a Poisson count
would, its dispersion, is estimated from the days before (Pearson's statistic; McCullagh and Nelder 1989, section 4.5).
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa

ALL = "all"
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
HOURLY = pa.schema({"hour": pa.timestamp("us", tz="UTC"), "slice": pa.string(), "calls": pa.int64(), "bad": pa.int64()})
"""What is counted: calls (or ratings) and bad ones by full hour and agent."""

CHANGED = 10.0
"""Log likelihood ratio from which on a rate has changed within a time, wherever in it: about one in a thousand by
chance among the 700 hours of a month (Bonferroni)."""


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
class Spread:
    """What the days before tell of the dispersion."""

    statistic: float = 0.0
    """Pearson's."""
    freedom: int = 0

    @property
    def dispersion(self) -> float:
        """The estimate; a count varies at least as a Poisson count does."""
        return max(1.0, self.statistic / self.freedom) if self.freedom else 1.0


@dataclass(frozen=True, slots=True)
class Counts:
    """Counts of full hours from ``start`` on."""

    start: datetime
    names: tuple[str, ...]
    """The agents, in order."""
    calls: np.ndarray
    """int [hours, agents]"""
    bad: np.ndarray
    """int [hours, agents]"""

    @staticmethod
    def of(tables: Sequence[pa.Table], start: datetime, end: datetime) -> "Counts":
        """What ``HOURLY`` tables count from the hour of ``start`` to ``end``; one hour may stand in several of them."""
        first = start.replace(minute=0, second=0, microsecond=0)
        hours = max(0, math.ceil((end - first) / HOUR))
        rows = pa.concat_tables(tables)
        coded = rows["slice"].combine_chunks().dictionary_encode()
        found = coded.dictionary.to_pylist()
        names = tuple(sorted(found))
        place = (rows["hour"].cast(pa.int64()).to_numpy() - round(first.timestamp() * 1e6)) // 3_600_000_000
        agent = np.array([names.index(name) for name in found], int)[coded.indices.to_numpy()] if found else place
        inside = (place >= 0) & (place < hours)
        cell = (place * len(names) + agent)[inside]

        def summed(column: str) -> np.ndarray:
            weights = rows[column].to_numpy()[inside]
            return np.bincount(cell, weights, hours * len(names)).astype(np.int64).reshape(hours, len(names))

        return Counts(first, names, summed("calls"), summed("bad"))

    def rates(self, start: datetime, end: datetime) -> dict[str, Rate]:
        """By agent, of the hours that begin from ``start`` on and before ``end``; agents without calls are left out."""
        low, high = self._places(start, end)
        calls, bad = (side[low:high].sum(axis=0).tolist() for side in (self.calls, self.bad))
        return {
            name: Rate(calls=many, bad=wrong) for name, many, wrong in zip(self.names, calls, bad, strict=True) if many
        }

    def spreads(self, start: datetime, end: datetime) -> dict[str, Spread]:
        """What the whole days before ``end``, back to ``start``, tell of each agent's dispersion and of all together's.

        Half an event is added to each agent's count, so that days without any say something, too.
        """
        low, high = self._places(start, end)
        days = (high - low) // 24
        if days < 2:
            return {}
        calls, bad = (
            side[high - 24 * days : high].reshape(days, 24, -1).sum(axis=1, dtype=float)
            for side in (self.calls, self.bad)
        )
        total = calls.sum(axis=0)
        rate = (bad.sum(axis=0) + 0.5) / (total + 1)
        expected, variance = calls * rate, calls * rate * (1 - rate)
        told = {name: _pearson(bad[:, i], expected[:, i], variance[:, i]) for i, name in enumerate(self.names)}
        return {**told, ALL: _pearson(bad.sum(axis=1), expected.sum(axis=1), variance.sum(axis=1))}

    def began(self, name: str, start: datetime, end: datetime, rate: float) -> datetime:
        """Hour from which on the slice's rate was most likely above ``rate`` (Page 1955, Biometrika 42(3/4))."""
        calls, bad = self._slice(name, start, end)
        observed, expected = (np.cumsum(side[::-1])[::-1].astype(float) for side in (bad, calls * max(rate, 1e-9)))
        gain = np.where(observed > expected, observed * _log(observed, expected) - (observed - expected), 0.0)
        return self._first(start) + int(np.argmax(gain)) * HOUR if len(gain) else start

    def ended(self, start: datetime, end: datetime, before: float) -> datetime | None:
        """Hour from which on a rate that rose at ``start`` had fallen again, nearer to ``before``; None: it has not."""
        calls, bad = (side.cumsum().astype(float) for side in self._slice(ALL, start, end))
        if len(calls) < 2 or not bad[-1]:
            return None
        early, late = (bad[:-1], calls[:-1]), (bad[-1] - bad[:-1], calls[-1] - calls[:-1])
        rate = bad[-1] / calls[-1]
        gain = sum(some * _log(some, many * rate) for some, many in (early, late))
        was, now = ((some + 0.5) / (many + 1) for some, many in (early, late))
        gain = np.where(now < np.sqrt(was * max(before, 1e-9)), gain, 0.0)
        place = int(np.argmax(gain))
        return self._first(start) + (place + 1) * HOUR if gain[place] > CHANGED else None

    def _slice(self, name: str, start: datetime, end: datetime) -> Iterator[np.ndarray]:
        low, high = self._places(start, end)
        for side in (self.calls, self.bad):
            yield side[low:high].sum(axis=1) if name == ALL else side[low:high, self.names.index(name)]

    def _places(self, start: datetime, end: datetime) -> tuple[int, int]:
        low, high = (math.ceil((at - self.start) / HOUR) for at in (start, end))
        return max(0, low), max(0, high)

    def _first(self, start: datetime) -> datetime:
        return self.start + self._places(start, start)[0] * HOUR


def total(rates: dict[str, Rate]) -> Rate:
    """All agents together."""
    return Rate(calls=sum(rate.calls for rate in rates.values()), bad=sum(rate.bad for rate in rates.values()))


def _pearson(bad: np.ndarray, expected: np.ndarray, variance: np.ndarray) -> Spread:
    there = variance > 0
    statistic = ((bad - expected)[there] ** 2 / variance[there]).sum()
    return Spread(statistic=float(statistic), freedom=max(0, int(there.sum()) - 1))


def _log(some: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Logarithm of their ratio; 0 where there is none, as it is multiplied by the count."""
    ratio: np.ndarray = np.divide(some, expected, out=np.ones_like(some), where=(expected > 0) & (some > 0))
    return np.log(ratio)

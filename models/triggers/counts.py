"""Calls and bad ones by hour and agent as dense arrays, so that a check sums windows instead of filtering a table.

Bad events come in clusters: an outage, a user who tries again. The dispersion, how much more a day's count varies than
a Poisson count, is estimated from the days before (Pearson's statistic; McCullagh and Nelder 1989, section 4.5).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

import numpy as np
import pyarrow as pa

ALL = "all"
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
HOURLY = pa.schema({"hour": pa.timestamp("us", tz="UTC"), "slice": pa.string(), "calls": pa.int64(), "bad": pa.int64()})
"""Calls (or ratings) and bad ones by full hour and agent (``slice``)."""

CHANGE_POINT_LOG_RATIO = 10.0
"""Log likelihood ratio above which a rate has a change point. Without a change it is reached with a probability of
about 1/1000 among the 700 hours of a month (Bonferroni)."""


class Rate(NamedTuple):
    """Bad events among calls; fractions where it is combined from slices."""

    calls: float
    bad: float

    @property
    def value(self) -> float:
        """The rate, 0 where there were no calls."""
        return self.bad / self.calls if self.calls else 0.0


class DispersionEstimate(NamedTuple):
    """The dispersion of daily counts, estimated from the days before, by Pearson's chi-square statistic."""

    statistic: float = 0.0
    degrees_of_freedom: int = 0

    @property
    def value(self) -> float:
        """The estimate, at least 1: a count varies at least as a Poisson count does."""
        return max(1.0, self.statistic / self.degrees_of_freedom) if self.degrees_of_freedom else 1.0


@dataclass(frozen=True, slots=True)
class HourlyCounts:
    """Counts by full hour from ``start`` on."""

    start: datetime
    names: tuple[str, ...]
    """The agents, sorted."""
    counts: np.ndarray
    """int [2, hours, agents]: calls, and bad ones."""

    @staticmethod
    def of(tables: Sequence[pa.Table], start: datetime, end: datetime) -> "HourlyCounts":
        """Sum ``HOURLY`` tables from the hour of ``start`` to ``end``; an hour may occur in several tables."""
        first = start.replace(minute=0, second=0, microsecond=0)
        hours = max(0, math.ceil((end - first) / HOUR))
        rows = pa.concat_tables(tables)
        names, agent = np.unique(np.array(rows["slice"].to_pylist(), str), return_inverse=True)
        hour = (rows["hour"].cast(pa.int64()).to_numpy() - round(first.timestamp() * 1e6)) // 3_600_000_000
        inside = (hour >= 0) & (hour < hours)
        cell = (hour * len(names) + agent)[inside]
        weights = (rows[column].to_numpy()[inside] for column in ("calls", "bad"))
        counts = np.stack([np.bincount(cell, weight, hours * len(names)) for weight in weights])
        return HourlyCounts(first, tuple(names.tolist()), counts.astype(np.int64).reshape(2, hours, len(names)))

    def rates(self, start: datetime, end: datetime) -> dict[str, Rate]:
        """Rates by agent of the hours that begin in [start, end); agents without calls are left out."""
        low, high = self._indices(start, end)
        calls, bad = self.counts[:, low:high].sum(axis=1).tolist()
        return {name: Rate(calls=n, bad=k) for name, n, k in zip(self.names, calls, bad, strict=True) if n}

    def dispersions(self, start: datetime, end: datetime) -> dict[str, DispersionEstimate]:
        """The dispersion of each agent's counts and of all agents' together, from the whole days between the two times.

        Half an event is added to each agent's count, so that days without any event are informative, too.
        """
        low, high = self._indices(start, end)
        days = (high - low) // 24
        if days < 2:
            return {}
        calls, bad = self.counts[:, high - 24 * days : high].reshape(2, days, 24, -1).sum(axis=2, dtype=float)
        total = calls.sum(axis=0)
        rate = (bad.sum(axis=0) + 0.5) / (total + 1)
        expected, variance = calls * rate, calls * rate * (1 - rate)
        agents = {name: _pearson(bad[:, i], expected[:, i], variance[:, i]) for i, name in enumerate(self.names)}
        return {**agents, ALL: _pearson(bad.sum(axis=1), expected.sum(axis=1), variance.sum(axis=1))}

    def onset(self, name: str, start: datetime, end: datetime, rate: float) -> datetime:
        """The most likely hour since when the slice's rate is above ``rate`` (Page 1955, Biometrika 42(3/4))."""
        calls, bad = self._slice(name, start, end)
        observed, expected = (np.cumsum(x[::-1])[::-1].astype(float) for x in (bad, calls * max(rate, 1e-9)))
        gain = np.where(observed > expected, observed * _log(observed, expected) - (observed - expected), 0.0)
        return self._hour(start, int(np.argmax(gain))) if len(gain) else start

    def recovery(self, start: datetime, end: datetime, before: float) -> datetime | None:
        """Hour since when a rate that rose at ``start`` is back nearer to ``before``; None where it is not."""
        calls, bad = self._slice(ALL, start, end).cumsum(axis=1).astype(float)
        if len(calls) < 2 or not bad[-1]:
            return None
        early, late = (bad[:-1], calls[:-1]), (bad[-1] - bad[:-1], calls[-1] - calls[:-1])
        rate = bad[-1] / calls[-1]
        gain = sum(k * _log(k, n * rate) for k, n in (early, late))
        was, now = ((k + 0.5) / (n + 1) for k, n in (early, late))
        gain = np.where(now < np.sqrt(was * max(before, 1e-9)), gain, 0.0)
        place = int(np.argmax(gain))
        return self._hour(start, place + 1) if gain[place] > CHANGE_POINT_LOG_RATIO else None

    def _slice(self, name: str, start: datetime, end: datetime) -> np.ndarray:
        low, high = self._indices(start, end)
        counts = self.counts[:, low:high]
        return counts.sum(axis=2) if name == ALL else counts[:, :, self.names.index(name)]

    def _indices(self, start: datetime, end: datetime) -> tuple[int, int]:
        low, high = (math.ceil((at - self.start) / HOUR) for at in (start, end))
        return max(0, low), max(0, high)

    def _hour(self, start: datetime, place: int) -> datetime:
        """The hour with this place among those that begin from ``start`` on."""
        return self.start + (self._indices(start, start)[0] + place) * HOUR


def total(rates: dict[str, Rate]) -> Rate:
    """All agents together."""
    return Rate(calls=sum(rate.calls for rate in rates.values()), bad=sum(rate.bad for rate in rates.values()))


def _pearson(bad: np.ndarray, expected: np.ndarray, variance: np.ndarray) -> DispersionEstimate:
    varies = variance > 0
    statistic = ((bad - expected)[varies] ** 2 / variance[varies]).sum()
    return DispersionEstimate(statistic=float(statistic), degrees_of_freedom=max(0, int(varies.sum()) - 1))


def _log(observed: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """log(observed / expected), 0 where either is 0: it is multiplied by the count."""
    ratio: np.ndarray = np.divide(observed, expected, out=np.ones_like(observed), where=(expected > 0) & (observed > 0))
    return np.log(ratio)

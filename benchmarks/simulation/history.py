"""Simulated traffic as triggers read it: no row that lands after the check, references as of the pin of a training."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

import numpy as np
import pyarrow as pa

from benchmarks.simulation.world import AGENTS, DAY_S, HOUR_S, START, Traffic, seconds
from features.drift import MISSING, Profile, profile
from models.registry.state import Training
from models.triggers.counts import HOURLY
from models.triggers.history import FeatureSample

MATERIALIZED_S, AGENTS_MATERIALIZED_S = 2 * HOUR_S, 900
"""After the window's end: users' features at 02:00, agents' at a quarter past."""
STALE_HOURS, ACTIVE_DAYS = 3, 7


@dataclass
class SimulatedHistory:
    """The ``History`` of simulated traffic at the time of the clock."""

    traffic: Traffic
    clock: Callable[[], datetime]
    _cached: dict[tuple[str, str, datetime], pa.Table | list[Profile]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._late = bool((self.traffic.landed - self.traffic.at > 300).any())

    def added_rows(self, since: Training | None) -> int:
        """See ``History``."""
        landed = np.searchsorted(self._landings, seconds(self.clock()), side="right")
        return int(landed - (np.searchsorted(self._landings, pinned_at(since), side="right") if since else 0))

    def calls(self, start: datetime, end: datetime) -> pa.Table:
        """See ``History``."""
        return self._counted(self.traffic.error, start, end, seconds(self.clock()))

    def calls_before(self, training: Training, start: datetime) -> pa.Table:
        """See ``History``."""
        return self._before("calls", self.traffic.error, training, start)

    def ratings(self, start: datetime, end: datetime) -> pa.Table:
        """See ``History``."""
        return self._counted(self.traffic.down, start, end, seconds(self.clock()))

    def ratings_before(self, training: Training, start: datetime) -> pa.Table:
        """See ``History``."""
        return self._before("ratings", self.traffic.down, training, start)

    def features(self, start: datetime, end: datetime) -> FeatureSample:
        """See ``History``."""
        return self._sample(start, end, seconds(self.clock()))

    def features_before(self, training: Training, start: datetime) -> list[Profile]:
        """See ``History``."""
        key = ("features", training.training_set_id, start)
        if key not in self._cached:
            sample = self._sample(start, training.cut, pinned_at(training))
            profiles = [profile(name, own, sample.clusters[name], sample.days) for name, own in sample.values.items()]
            self._cached[key] = profiles
        found = self._cached[key]
        assert isinstance(found, list)
        return found

    def versions(self) -> list[str]:
        """See ``History``."""
        return [f"processed.agent_interactions@{int(seconds(self.clock()))}"]

    @cached_property
    def _landings(self) -> np.ndarray:
        return np.sort(self.traffic.landed)

    def _before(self, kind: str, bad: np.ndarray, training: Training, start: datetime) -> pa.Table:
        key = (kind, training.training_set_id, start)
        if key not in self._cached:
            self._cached[key] = self._counted(bad, start, training.cut, pinned_at(training))
        return self._cached[key]

    def _rows(self, start: datetime, end: datetime, known_at: float) -> np.ndarray:
        low, high = np.searchsorted(self.traffic.at, [max(0.0, seconds(start)), max(0.0, seconds(end))])
        rows = np.arange(low, high)
        return rows[self.traffic.landed[low:high] <= known_at] if self._late or known_at < seconds(end) + 300 else rows

    def _counted(self, bad: np.ndarray, start: datetime, end: datetime, known_at: float) -> pa.Table:
        rows = self._rows(start, end, known_at)
        rows = rows[bad[rows] >= 0]
        cell = self.traffic.at[rows] // HOUR_S * len(AGENTS) + self.traffic.agent[rows]
        first = int(cell.min(initial=0)) if len(rows) else 0
        calls = np.bincount(cell - first)
        wrong = np.bincount(cell - first, bad[rows]).astype(np.int64)
        nonzero = np.flatnonzero(calls)
        hour, agent = np.divmod(nonzero + first, len(AGENTS))
        micros = hour * (HOUR_S * 1_000_000) + round(START.timestamp() * 1e6)
        names = pa.DictionaryArray.from_arrays(pa.array(agent, pa.int32()), list(AGENTS)).cast(pa.string())
        columns = [
            pa.array(micros, HOURLY.field("hour").type),
            names,
            pa.array(calls[nonzero]),
            pa.array(wrong[nonzero]),
        ]
        return pa.table(columns, schema=HOURLY)

    def _sample(self, start: datetime, end: datetime, known_at: float) -> FeatureSample:
        rows = self._rows(start, end, known_at)
        watched = self._watched
        values = {name: own[0][rows] for name, own in watched.items()}
        return FeatureSample(
            values=values,
            clusters={name: own[1][rows] for name, own in watched.items()},
            days=self.traffic.at[rows] // DAY_S,
        )

    @cached_property
    def _watched(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Each feature's values and clusters, for all requests."""
        traffic = self.traffic
        found = {
            "agent_name": (np.array(AGENTS)[traffic.agent], traffic.user),
            "query_characters": (traffic.query.astype(float), traffic.user),
            "response_characters": (traffic.response.astype(float), traffic.user),
        }
        for name, own in _user_features(traffic).items():
            found[name] = (own, traffic.user)
        hours, own_hour = _agent_features(traffic)
        found.update({name: (own, own_hour) for name, own in hours.items()})
        assert MISSING not in AGENTS
        return found


def pinned_at(training: Training) -> float:
    """When its tables were pinned, in seconds since the beginning."""
    return float(training.inputs[0].partition("@")[2])


def _user_features(traffic: Traffic) -> dict[str, np.ndarray]:
    """Queries of a user's last day and week by the last materialized midnight; missing for users without queries."""
    days, users = int(traffic.at.max()) // DAY_S + 2, int(traffic.user.max()) + 1
    daily = np.bincount(traffic.user * days + traffic.at // DAY_S, minlength=users * days).reshape(users, days)
    summed = np.concatenate([np.zeros((users, 1)), daily.cumsum(axis=1)], axis=1)
    midnight = np.maximum((traffic.at - MATERIALIZED_S) // DAY_S, 0)
    day, week = (
        summed[traffic.user, midnight] - summed[traffic.user, np.maximum(midnight - days_back, 0)]
        for days_back in (1, ACTIVE_DAYS)
    )
    nonzero = week > 0
    return {"queries_last_7d": np.where(nonzero, week, np.nan), "queries_last_24h": np.where(nonzero, day, np.nan)}


def _agent_features(traffic: Traffic) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Features of the agent's last full hour with traffic, at most three hours ago, and the number of that hour."""
    hours = int(traffic.at.max()) // HOUR_S + 2
    cell = traffic.agent * hours + traffic.at // HOUR_S
    size = len(AGENTS) * hours
    calls = np.bincount(cell, minlength=size).astype(float)
    with np.errstate(invalid="ignore", divide="ignore"):
        failed = np.bincount(cell, traffic.error, size) / calls
    good = ~traffic.error
    order = np.lexsort((traffic.latency_ms[good], cell[good]))
    sorted_cells, latency = cell[good][order], traffic.latency_ms[good][order]
    first = np.searchsorted(sorted_cells, np.arange(size + 1))
    many = np.diff(first)

    def rank(share: float) -> np.ndarray:
        place = np.minimum(first[:-1] + np.maximum(np.ceil(share * many).astype(int) - 1, 0), len(latency) - 1)
        return np.where(many > 0, latency[place], np.nan)

    tokens = np.bincount(cell, (traffic.query + traffic.response) / 4, size)
    hour_by = (traffic.at - AGENTS_MATERIALIZED_S) // HOUR_S - 1
    where = traffic.agent * hours + np.maximum(hour_by, 0)
    for back in range(1, STALE_HOURS):
        earlier = traffic.agent * hours + np.maximum(hour_by - back, 0)
        where = np.where(calls[where] > 0, where, earlier)
    missing = (calls[where] == 0) | (hour_by < 0)
    features = {
        "agent_requests_per_hour": calls,
        "agent_latency_p50_ms": rank(0.5),
        "agent_latency_p95_ms": rank(0.95),
        "agent_error_rate": failed,
        "agent_token_usage_rate": tokens,
    }
    return {name: np.where(missing, np.nan, own[where]) for name, own in features.items()}, np.where(
        missing, -1 - traffic.agent, where
    )

"""One rollout from its first user to its end, as the state machine would take it, with the real statistics."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from benchmarks.canary.running_sums import RunningSums
from benchmarks.canary.traffic import METRICS, SimulatedTraffic, arms
from serving.policy import CanaryRule, Metric
from serving.statistics.sequential_test import (
    analyse,
    harm_threshold,
    log_e_not_worse,
    log_e_worse,
    promotion_threshold,
)
from serving.statistics.strata import Bools, Evidence, Floats, Ints, StratifiedSums

REQUESTS_PER_ANALYSIS = 50
MIN_DEVIATIONS = 2.9
"""Standard deviations of independent requests below which no e-value reaches its threshold: exp(2.9²/2) is 67, and the
threshold is 100."""
End = Literal["promoted", "rolled_back", "inconclusive"]


@dataclass(frozen=True, kw_only=True, slots=True)
class SimulatedRollout:
    """How a rollout ended."""

    end: End
    requests: int
    """Of both arms, until then."""
    widened: int
    """Requests until the second share."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Exposures:
    """Which arm answered each request: the share is widened as soon as a step has its minimum exposure."""

    candidate: Bools
    widened: tuple[int, ...]
    """Rows at which the next share begins."""
    exposed_at: int
    """Row from which the last step has its minimum exposure."""


def expose(traffic: SimulatedTraffic, rule: CanaryRule) -> Exposures:
    """Take the steps. Widening depends on counts alone, so it is known before any answer."""
    candidate = np.zeros(len(traffic.user), bool)
    begin, widened = 0, []
    for share in rule.steps:
        on_candidate = arms(traffic, np.full(len(traffic.user), share))
        candidate[begin:] = on_candidate[begin:]
        begin = begin + _exposed(traffic.user[begin:], on_candidate[begin:], rule)
        widened.append(begin)
    return Exposures(candidate=candidate, widened=tuple(widened[:-1]), exposed_at=widened[-1])


def _exposed(user: Ints, candidate: Bools, rule: CanaryRule) -> int:
    """Rows until the candidate has answered enough requests of enough users."""
    requests = np.cumsum(candidate)
    first = np.zeros(len(user), bool)
    answered = np.flatnonzero(candidate)
    first[answered[np.unique(user[answered], return_index=True)[1]]] = True
    enough = (requests >= rule.min_requests) & (np.cumsum(first) >= rule.min_users)
    return int(np.argmax(enough)) + 1 if enough.any() else len(user)


def evidence_of(traffic: SimulatedTraffic, exposures: Exposures, metric: int = 0) -> Evidence:
    """The rows of one metric, as observations of a lake would have them."""
    rows = traffic.outcome[metric]
    bad = np.where(exposures.candidate, traffic.bad[metric, :, 1], traffic.bad[metric, :, 0])
    return Evidence(
        time=traffic.time[rows],
        unit=traffic.user[rows],
        candidate=exposures.candidate[rows],
        bad=bad[rows],
        widened=tuple(int(traffic.time[row]) for row in exposures.widened if row < len(traffic.time)),
    )


def simulate(
    traffic: SimulatedTraffic, rule: CanaryRule, every: int = REQUESTS_PER_ANALYSIS, *, screened: bool = True
) -> SimulatedRollout:
    """Make an interim analysis after every so many requests until the rollout ends.

    Args:
        traffic: users and requests.
        rule: margins, errors, steps.
        every: requests from one analysis to the next.
        screened: skip the e-values that cannot be large; the tests compare with and without.
    """
    exposures = expose(traffic, rule)
    metrics = [_Analyses.of(traffic, exposures, rule, index, every, screened) for index in range(len(traffic.bad))]
    judged = [metric for metric in metrics if rule.judged_for_promotion(metric.metric)]
    at = metrics[0].at
    harmful = np.array([metric.is_far(metric.difference) for metric in metrics])
    harmless = np.all([metric.is_far(metric.below) for metric in judged], axis=0) & (at >= exposures.exposed_at)
    for index in np.flatnonzero(harmless | harmful.any(axis=0)).tolist():
        if any(far[index] and metric.worse(index) for metric, far in zip(metrics, harmful, strict=True)):
            return _ended("rolled_back", int(at[index]), exposures)
        if harmless[index] and all(metric.not_worse(index) for metric in judged):
            return _ended("promoted", int(at[index]), exposures)
    return _ended("inconclusive", len(traffic.user), exposures)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Analyses:
    """The interim analyses of one metric."""

    metric: Metric
    rule: CanaryRule
    at: Ints
    """[analyses] Requests of the rollout until each."""
    rows: Ints
    """[analyses] Requests among them with an outcome in this metric."""
    running: RunningSums
    difference: Floats
    """[analyses] The weighted difference, which harm raises."""
    below: Floats
    """[analyses] How far the difference is below the margin."""
    deviation: Floats
    """[analyses] Standard deviation of both for independent requests."""
    screened: bool

    @classmethod
    def of(
        cls,
        traffic: SimulatedTraffic,
        exposures: Exposures,
        rule: CanaryRule,
        metric_index: int,
        every: int,
        screened: bool,
    ) -> "_Analyses":
        at = np.arange(every, len(traffic.user) + 1, every)
        running = RunningSums(evidence_of(traffic, exposures, metric_index), len(traffic.place))
        rows = np.cumsum(traffic.outcome[metric_index])[at - 1]
        difference, weight, level = running.overall(np.maximum(rows, 1))
        return cls(
            metric=METRICS[metric_index],
            rule=rule,
            at=at,
            rows=rows,
            running=running,
            difference=difference,
            below=rule.margin(METRICS[metric_index]) * weight - difference,
            deviation=np.sqrt(level * (1 - level / np.maximum(weight, 1e-9))),
            screened=screened,
        )

    def is_far(self, beyond: Floats) -> Bools:
        """Whether a sum is so far from its null that its e-value can reach the threshold.

        With correlated requests that takes even more, so this screening is valid and saves most of the time.
        """
        return (self.rows > 0) & ((beyond > MIN_DEVIATIONS * self.deviation) | (not self.screened))

    def worse(self, index: int) -> bool:
        sums = self._sums(index)
        if self.screened and self.difference[index] < MIN_DEVIATIONS * math.sqrt(_variance_of_users(sums, self.rule)):
            return False
        return log_e_worse(sums, self.rule) >= harm_threshold(self.rule)

    def not_worse(self, index: int) -> bool:
        return log_e_not_worse(self._sums(index), self.rule, self.metric) >= promotion_threshold(self.rule)

    def _sums(self, index: int) -> StratifiedSums:
        return self.running.until(int(self.rows[index]))


def simulate_unscreened(traffic: SimulatedTraffic, rule: CanaryRule, every: int) -> SimulatedRollout:
    """The same with every analysis of all rows so far: slow; the tests compare ``simulate`` with it."""
    exposures = expose(traffic, rule)
    evidence = {
        METRICS[metric_index]: evidence_of(traffic, exposures, metric_index) for metric_index in range(len(traffic.bad))
    }
    for row in range(every, len(traffic.user) + 1, every):
        analysis = analyse(
            {metric: _until(rows, int(traffic.time[row - 1])) for metric, rows in evidence.items()}, rule
        )
        if analysis.worse:
            return _ended("rolled_back", row, exposures)
        if row >= exposures.exposed_at and analysis.not_worse:
            return _ended("promoted", row, exposures)
    return _ended("inconclusive", len(traffic.user), exposures)


def _until(rows: Evidence, last: int) -> Evidence:
    count = int(np.searchsorted(rows.time, last, side="right"))
    return Evidence(
        time=rows.time[:count],
        unit=rows.unit[:count],
        candidate=rows.candidate[:count],
        bad=rows.bad[:count],
        widened=tuple(instant for instant in rows.widened if instant <= last),
    )


def _variance_of_users(sums: StratifiedSums, rule: CanaryRule) -> float:
    """Variance of the difference over random assignments of the users."""
    steps = np.array(rule.steps[: len(sums.weight)])
    covariance = np.minimum.outer(steps, steps) - np.outer(steps, steps)
    return float((sums.residual @ covariance * sums.residual).sum())


def _ended(end: End, rows: int, exposures: Exposures) -> SimulatedRollout:
    return SimulatedRollout(end=end, requests=rows, widened=exposures.widened[0])

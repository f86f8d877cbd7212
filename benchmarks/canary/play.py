"""One rollout from the first user to its end, as the state machine would take it, on the real statistics."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from benchmarks.canary.running import Running
from benchmarks.canary.world import METRICS, Traffic, arms
from serving.policy import CanaryRule, Metric
from serving.statistics.sequential_test import analyse, log_e_not_worse, log_e_worse, log_not_worse_at, log_worse_at
from serving.statistics.strata import Bools, Evidence, Floats, Ints, Totals

LOOK_EVERY = 50
FAR = 2.9
"""Standard deviations of independent requests below which no e-value suffices: exp(2.9²/2) is 67, and 100 is asked."""
End = Literal["promoted", "rolled_back", "inconclusive"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """How a rollout ended."""

    end: End
    requests: int
    """Of both arms, until then."""
    widened: int
    """Requests until the second share."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Course:
    """Who answered what: widened as soon as a step has its least exposure."""

    candidate: Bools
    widened: tuple[int, ...]
    """Rows at which the next share begins."""
    ripe: int
    """Row from which the last step has its least exposure."""


def course(drawn: Traffic, rule: CanaryRule) -> Course:
    """Take the steps. What is widened depends on counts alone, so it can be known before any answer."""
    candidate = np.zeros(len(drawn.user), bool)
    begin, widened = 0, []
    for share in rule.steps:
        here = arms(drawn, np.full(len(drawn.user), share))
        candidate[begin:] = here[begin:]
        begin = begin + _exposed(drawn.user[begin:], here[begin:], rule)
        widened.append(begin)
    return Course(candidate=candidate, widened=tuple(widened[:-1]), ripe=widened[-1])


def _exposed(user: Ints, candidate: Bools, rule: CanaryRule) -> int:
    """Rows until the candidate has answered enough requests of enough users."""
    requests = np.cumsum(candidate)
    first = np.zeros(len(user), bool)
    answered = np.flatnonzero(candidate)
    first[answered[np.unique(user[answered], return_index=True)[1]]] = True
    enough = (requests >= rule.min_requests) & (np.cumsum(first) >= rule.min_users)
    return int(np.argmax(enough)) + 1 if enough.any() else len(user)


def evidence_of(drawn: Traffic, taken: Course, metric: int = 0) -> Evidence:
    """The rows of one metric as the lake would give them."""
    rows = drawn.outcome[metric]
    bad = np.where(taken.candidate, drawn.bad[metric, :, 1], drawn.bad[metric, :, 0])
    return Evidence(
        time=drawn.time[rows],
        unit=drawn.user[rows],
        candidate=taken.candidate[rows],
        bad=bad[rows],
        widened=tuple(int(drawn.time[row]) for row in taken.widened if row < len(drawn.time)),
    )


def play(drawn: Traffic, rule: CanaryRule, every: int = LOOK_EVERY, *, screened: bool = True) -> Ended:
    """Look after every so many requests until the rollout ends.

    Args:
        drawn: users and requests.
        rule: margins, errors, steps.
        every: requests from one look to the next.
        screened: leave out the e-values that cannot be large; the tests play without.
    """
    taken = course(drawn, rule)
    looks = [_Looks.of(drawn, taken, rule, place, every, screened) for place in range(len(drawn.bad))]
    judged = [one for one in looks if rule.judged_for_promotion(one.metric)]
    at = looks[0].at
    harmful = np.array([one.far(one.difference) for one in looks])
    harmless = np.all([one.far(one.below) for one in judged], axis=0) & (at >= taken.ripe)
    for look in np.flatnonzero(harmless | harmful.any(axis=0)).tolist():
        if any(far[look] and one.worse(look) for one, far in zip(looks, harmful, strict=True)):
            return _ended("rolled_back", int(at[look]), taken)
        if harmless[look] and all(one.not_worse(look) for one in judged):
            return _ended("promoted", int(at[look]), taken)
    return _ended("inconclusive", len(drawn.user), taken)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Looks:
    """The looks at one metric."""

    metric: Metric
    rule: CanaryRule
    at: Ints
    """[looks] Requests of the rollout until then."""
    rows: Ints
    """[looks] Those of them with an outcome in this metric."""
    running: Running
    difference: Floats
    """[looks] The sum that harm raises."""
    below: Floats
    """[looks] By how much it is below the margin."""
    deviation: Floats
    """[looks] Standard deviation of both if requests were independent."""
    screened: bool

    @classmethod
    def of(cls, drawn: Traffic, taken: Course, rule: CanaryRule, place: int, every: int, screened: bool) -> "_Looks":
        at = np.arange(every, len(drawn.user) + 1, every)
        running = Running(evidence_of(drawn, taken, place), len(drawn.place))
        rows = np.cumsum(drawn.outcome[place])[at - 1]
        difference, weight, level = running.overall(np.maximum(rows, 1))
        return cls(
            metric=METRICS[place],
            rule=rule,
            at=at,
            rows=rows,
            running=running,
            difference=difference,
            below=rule.margin(METRICS[place]) * weight - difference,
            deviation=np.sqrt(level * (1 - level / np.maximum(weight, 1e-9))),
            screened=screened,
        )

    def far(self, beyond: Floats) -> Bools:
        """Whether a sum lies far enough beyond its null to be worth the whole e-value.

        Of users who are alike either is shown later still: who does not ask before saves most of the time.
        """
        return (self.rows > 0) & ((beyond > FAR * self.deviation) | (not self.screened))

    def worse(self, look: int) -> bool:
        sums = self._sums(look)
        if self.screened and self.difference[look] < FAR * math.sqrt(_variance_of_users(sums, self.rule)):
            return False
        return log_e_worse(sums, self.rule) >= log_worse_at(self.rule)

    def not_worse(self, look: int) -> bool:
        return log_e_not_worse(self._sums(look), self.rule, self.metric) >= log_not_worse_at(self.rule)

    def _sums(self, look: int) -> Totals:
        return self.running.until(int(self.rows[look]))


def play_every(drawn: Traffic, rule: CanaryRule, every: int) -> Ended:
    """The same with a look after every so many requests, each at all rows so far: slow, to show what looks cost."""
    taken = course(drawn, rule)
    evidence = {METRICS[place]: evidence_of(drawn, taken, place) for place in range(len(drawn.bad))}
    for row in range(every, len(drawn.user) + 1, every):
        seen = analyse({metric: _until(rows, int(drawn.time[row - 1])) for metric, rows in evidence.items()}, rule)
        if seen.worse:
            return _ended("rolled_back", row, taken)
        if row >= taken.ripe and seen.not_worse:
            return _ended("promoted", row, taken)
    return _ended("inconclusive", len(drawn.user), taken)


def _until(rows: Evidence, last: int) -> Evidence:
    count = int(np.searchsorted(rows.time, last, side="right"))
    return Evidence(
        time=rows.time[:count],
        unit=rows.unit[:count],
        candidate=rows.candidate[:count],
        bad=rows.bad[:count],
        widened=tuple(at for at in rows.widened if at <= last),
    )


def _variance_of_users(sums: Totals, rule: CanaryRule) -> float:
    steps = np.array(rule.steps[: len(sums.weight)])
    covariance = np.minimum.outer(steps, steps) - np.outer(steps, steps)
    return float((sums.residual @ covariance * sums.residual).sum())


def _ended(end: End, rows: int, taken: Course) -> Ended:
    return Ended(end=end, requests=rows, widened=taken.widened[0])

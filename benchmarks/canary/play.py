"""One rollout from the first user to its end, as the state machine would take it, on the real statistics.

The sums of ``serving.evidence`` at every look are made all at once here, as running sums over the stretches of time;
``tests/serving/test_analysis.py`` holds that they are those of ``totals_of``.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from heapq import merge
from typing import Literal

import numpy as np

from benchmarks.canary.world import METRICS, Traffic, arms
from serving.analysis import analyse, log_e_not_worse, log_e_worse, log_not_worse_at, log_worse_at
from serving.canary_rule import CanaryRule, Metric
from serving.evidence import Bools, Evidence, Floats, Ints, Totals, stretches

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


def running_totals(evidence: Evidence, users: int) -> Iterator[tuple[int, Totals]]:
    """The totals after every stretch of time, with the rows until then."""
    starts = stretches(evidence.time, evidence.widened)
    ends = np.append(starts[1:], len(evidence))
    step_of = np.searchsorted(np.asarray(evidence.widened, np.int64), evidence.time[starts], side="right")
    steps, user = len(evidence.widened) + 1, evidence.unit.astype(np.int64)
    sums = np.zeros((5, steps))
    residual, side = np.zeros((users, steps)), np.zeros((users, steps))
    for begin, end, step in zip(starts, ends, step_of, strict=True):
        bad, arm = evidence.bad[begin:end], evidence.candidate[begin:end]
        n, n1, rate = end - begin, int(arm.sum()), bad.mean()
        share, weight = n1 / n, n1 * (1 - n1 / n)
        left = bad - rate
        sums[:, step] += [left @ arm, weight, weight * (1 - share), weight * rate, left @ left]
        np.add.at(residual[:, step], user[begin:end], left)
        np.add.at(side[:, step], user[begin:end], arm - share)
        begun = int(step) + 1
        yield int(end), _totals(sums[:, :begun], residual[:, :begun], side[:, :begun])


def _totals(sums: Floats, residual: Floats, side: Floats) -> Totals:
    difference, weight, stable_weight, level, squares = sums
    return Totals(
        difference=difference,
        weight=weight,
        stable_weight=stable_weight,
        level=level,
        squares=squares,
        residual=residual,
        side=side,
    )


def play(drawn: Traffic, rule: CanaryRule) -> Ended:
    """Look after every stretch of each metric until the rollout ends."""
    taken = course(drawn, rule)
    worse_at, not_worse_at = log_worse_at(rule), log_not_worse_at(rule)
    waiting = {METRICS[place] for place in range(len(drawn.bad)) if rule.judged_for_promotion(METRICS[place])}
    safe: set[Metric] = set()
    for row, metric, sums in merge(*_looks(drawn, taken), key=lambda look: look[0]):
        difference, weight = float(sums.difference.sum()), float(sums.weight.sum())
        if _far(sums, difference) and log_e_worse(sums, rule) >= worse_at:
            return _ended("rolled_back", row, taken)
        if row >= taken.ripe and metric in waiting:
            below = rule.margin(metric) * weight - difference
            shown = _far(sums, below) and log_e_not_worse(sums, rule, metric) >= not_worse_at
            safe = safe | {metric} if shown else safe - {metric}
            if safe == waiting:
                return _ended("promoted", row, taken)
    return _ended("inconclusive", len(drawn.user), taken)


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


def _far(sums: Totals, beyond: float) -> bool:
    """Whether the difference lies far enough beyond its null to be worth the whole e-value.

    Either is shown at 3 standard deviations or more of independent requests, of users who are alike later still: who
    does not ask at 2 saves nine tenths of the time. A test compares a handful of rollouts with and without.
    """
    return bool(beyond > 0 and beyond**2 > 4 * sums.level.sum() * (1 - sums.level.sum() / sums.weight.sum()))


def _looks(drawn: Traffic, taken: Course) -> list[Iterator[tuple[int, Metric, Totals]]]:
    return [_looks_at(drawn, taken, place) for place in range(len(drawn.bad))]


def _looks_at(drawn: Traffic, taken: Course, place: int) -> Iterator[tuple[int, Metric, Totals]]:
    row_of = np.flatnonzero(drawn.outcome[place])
    for rows, sums in running_totals(evidence_of(drawn, taken, place), len(drawn.place)):
        yield int(row_of[rows - 1]) + 1, METRICS[place], sums


def _ended(end: End, rows: int, taken: Course) -> Ended:
    return Ended(end=end, requests=rows, widened=taken.widened[0])

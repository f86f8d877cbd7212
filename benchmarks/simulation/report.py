"""Alarms compared with causes: detections, false alarms, misses and repeated alarms for one cause."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchmarks.simulation.doubling import Baseline
from benchmarks.simulation.play import Check
from benchmarks.simulation.scenarios import MEASURED, Cause, Scenario
from models.triggers.rules import TRIGGERS

HEADER = ("Scenario", "Truth", "Fired", "Trigger", "Delay", "Allowed", "Result")
MEASURING = {TRIGGERS[type(rule)].value for rule in MEASURED}


@dataclass(frozen=True, kw_only=True, slots=True)
class Alarm:
    """All checks that fired between two trainings count as one alarm."""

    day: float
    trigger: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """The result for one cause, or for an alarm without a cause."""

    scenario: str
    truth: str
    alarm: Alarm | None
    delay_hours: float
    allowed_hours: float
    result: str
    """``ok``, ``silent``, ``late``, ``missed``, ``false``, ``twice``."""

    @property
    def good(self) -> bool:
        """Whether it is as expected."""
        return self.result in ("ok", "silent", "by schedule")

    def cells(self) -> tuple[str, ...]:
        """The cells as text, in the order of ``HEADER``."""
        fired, trigger = (f"day {self.alarm.day:.2f}", self.alarm.trigger) if self.alarm else ("", "")
        return (
            self.scenario,
            self.truth,
            fired,
            trigger,
            _hours(self.delay_hours),
            _hours(self.allowed_hours),
            self.result,
        )


def alarms(checks: Iterable[Check]) -> list[Alarm]:
    """Alarms of the triggers that measure. A check that fires again before a training on data with the cause is part of
    the same alarm, for every trigger.
    """
    found: list[Alarm] = []
    measured_from: set[float | None] = set()
    for check in checks:
        if check.decision.fired and check.decision.trigger in MEASURING and check.since_day not in measured_from:
            measured_from.add(check.since_day)
            found.append(Alarm(day=check.day, trigger=check.decision.trigger, reason=check.decision.reason))
    return found


def evaluate(scenario: Scenario, checks: Sequence[Check]) -> list[Result]:
    """The results for every cause, then for alarms without a cause."""
    left = alarms(checks)
    results: list[Result] = []
    for cause in scenario.causes:
        own = [alarm for alarm in left if cause.day <= alarm.day < cause.over_day and alarm.trigger in cause.triggers]
        left = [alarm for alarm in left if alarm not in own]
        results += _cause(scenario, cause, own, _predicted(checks, cause.day))
    results += [_result(scenario, "nothing", alarm, "false") for alarm in left]
    return results or [_result(scenario, "nothing", None, "silent")]


def _cause(scenario: Scenario, cause: Cause, own: list[Alarm], predicted_hours: float) -> list[Result]:
    allowed = predicted_hours if cause.within_hours is None else cause.within_hours
    truth = f"{cause.what}, day {cause.day:g}"
    if not own:
        return [_result(scenario, truth, None, "missed" if cause.must else "silent", allowed=allowed)]
    delay = (own[0].day - cause.day) * 24
    first = _result(scenario, truth, own[0], "ok" if delay <= allowed or not cause.must else "late", delay, allowed)
    return [first, *(_result(scenario, truth, alarm, "twice", (alarm.day - cause.day) * 24) for alarm in own[1:])]


def _predicted(checks: Sequence[Check], day: float) -> float:
    """The hours to detect a doubled rate, as predicted by the last error check before that day."""
    delays = [check.delay_days for check in checks if check.day <= day and check.delay_days is not None]
    return delays[-1] * 24 if delays else math.inf


def _result(
    scenario: Scenario,
    truth: str,
    alarm: Alarm | None,
    result: str,
    delay: float = math.nan,
    allowed: float = math.nan,
) -> Result:
    return Result(
        scenario=scenario.name,
        truth=truth,
        alarm=alarm,
        delay_hours=delay,
        allowed_hours=allowed,
        result=result,
    )


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    lines = ["| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |" for row in (header, *rows)]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])


def results_table(results: Sequence[Result]) -> str:
    """The results of every scenario."""
    return table(HEADER, [result.cells() for result in results])


def doubled_table(baselines: Sequence[Baseline]) -> str:
    """The detection of doubled error rates, one line per baseline."""
    header = (
        "Errors a day",
        "Dispersion",
        "Runs",
        "Predicted, median",
        "Detected, median",
        "Within 24 h",
        "As predicted",
    )
    rows = []
    for baseline in baselines:
        predicted, delay = (sorted(side)[len(baseline.repeated) // 2] for side in _delays(baseline))
        rows.append(
            (
                f"{baseline.errors_a_day:g}",
                f"{1 + baseline.spread * baseline.errors_a_day:.1f}",
                f"{len(baseline.repeated)}",
                _hours(predicted * 24),
                _hours(delay),
                f"{baseline.within_a_day:.1%}",
                f"{baseline.as_predicted:.1%}",
            )
        )
    return table(header, rows)


def _delays(baseline: Baseline) -> tuple[list[float], list[float]]:
    return [run.predicted_days for run in baseline.repeated], [run.delay_hours for run in baseline.repeated]


def _hours(hours: float) -> str:
    if math.isnan(hours):
        return ""
    if math.isinf(hours):
        return "not predicted"
    return f"{hours:.0f} h" if hours < 96 else f"{hours / 24:.1f} d"

"""What fired, held against what ought to have: detections, false alarms, misses, and the same cause twice."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchmarks.simulation.doubling import Baseline
from benchmarks.simulation.play import Look
from benchmarks.simulation.scenarios import MEASURED, Cause, Scenario
from models.triggers.rules import TRIGGERS

HEADER = ("Scenario", "Truth", "Fired", "Trigger", "Delay", "Allowed", "Result")
MEASURING = {TRIGGERS[type(rule)].value for rule in MEASURED}


@dataclass(frozen=True, kw_only=True, slots=True)
class Alarm:
    """The looks that fired from one training to the next: one alarm, however many of them there were."""

    day: float
    trigger: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """One cause, or the lack of one, and what came of it."""

    scenario: str
    truth: str
    alarm: Alarm | None
    delay_hours: float
    allowed_hours: float
    result: str
    """``ok``, ``silent``, ``late``, ``missed``, ``false``, ``twice``."""

    @property
    def good(self) -> bool:
        """Whether it is as it should be."""
        return self.result in ("ok", "silent", "by schedule")

    def cells(self) -> tuple[str, ...]:
        """As text, in the order of ``HEADER``."""
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


def alarms(looks: Iterable[Look]) -> list[Alarm]:
    """Alarms of the triggers that measure. A look that fires again before a training has taken its cause in is no other
    alarm, whichever trigger looked.
    """
    found: list[Alarm] = []
    measured_from: set[float | None] = set()
    for look in looks:
        if look.decision.fired and look.decision.trigger in MEASURING and look.since_day not in measured_from:
            measured_from.add(look.since_day)
            found.append(Alarm(day=look.day, trigger=look.decision.trigger, reason=look.decision.reason))
    return found


def judge(scenario: Scenario, looks: Sequence[Look]) -> list[Seen]:
    """Every cause with what was seen of it, then what has no cause."""
    left = alarms(looks)
    told: list[Seen] = []
    for cause in scenario.causes:
        own = [alarm for alarm in left if cause.day <= alarm.day < cause.over_day and alarm.trigger in cause.triggers]
        left = [alarm for alarm in left if alarm not in own]
        told += _cause(scenario, cause, own, _predicted(looks, cause.day))
    told += [_seen(scenario, "nothing", alarm, "false") for alarm in left]
    return told or [_seen(scenario, "nothing", None, "silent")]


def _cause(scenario: Scenario, cause: Cause, own: list[Alarm], predicted_hours: float) -> list[Seen]:
    allowed = predicted_hours if cause.within_hours is None else cause.within_hours
    truth = f"{cause.what}, day {cause.day:g}"
    if not own:
        return [_seen(scenario, truth, None, "missed" if cause.must else "silent", allowed=allowed)]
    delay = (own[0].day - cause.day) * 24
    first = _seen(scenario, truth, own[0], "ok" if delay <= allowed or not cause.must else "late", delay, allowed)
    return [first, *(_seen(scenario, truth, alarm, "twice", (alarm.day - cause.day) * 24) for alarm in own[1:])]


def _predicted(looks: Sequence[Look], day: float) -> float:
    """Hours that the last error look before that day said a doubled rate would take."""
    told = [look.delay_days for look in looks if look.day <= day and look.delay_days is not None]
    return told[-1] * 24 if told else math.inf


def _seen(
    scenario: Scenario,
    truth: str,
    alarm: Alarm | None,
    result: str,
    delay: float = math.nan,
    allowed: float = math.nan,
) -> Seen:
    return Seen(
        scenario=scenario.name,
        truth=truth,
        alarm=alarm,
        delay_hours=delay,
        allowed_hours=allowed,
        result=result,
    )


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    widths = [max(len(row[place]) for row in (header, *rows)) for place in range(len(header))]
    lines = ["| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |" for row in (header, *rows)]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])


def seen_table(seen: Sequence[Seen]) -> str:
    """What happened in each scenario."""
    return table(HEADER, [one.cells() for one in seen])


def doubled_table(baselines: Sequence[Baseline]) -> str:
    """How a doubled error rate was seen, a line a baseline."""
    header = ("Errors a day", "Dispersion", "Runs", "Predicted, median", "Seen, median", "Within 24 h", "As predicted")
    rows = []
    for one in baselines:
        predicted, delay = (sorted(side)[len(one.repeated) // 2] for side in _sides(one))
        rows.append(
            (
                f"{one.errors_a_day:g}",
                f"{1 + one.spread * one.errors_a_day:.1f}",
                f"{len(one.repeated)}",
                _hours(predicted * 24),
                _hours(delay),
                f"{one.within_a_day:.1%}",
                f"{one.as_predicted:.1%}",
            )
        )
    return table(header, rows)


def _sides(one: Baseline) -> tuple[list[float], list[float]]:
    return [each.predicted_days for each in one.repeated], [each.delay_hours for each in one.repeated]


def _hours(hours: float) -> str:
    if math.isnan(hours):
        return ""
    if math.isinf(hours):
        return "not promised"
    return f"{hours:.0f} h" if hours < 96 else f"{hours / 24:.1f} d"

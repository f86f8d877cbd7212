"""The scenarios: their traffic, and the causes that the triggers must detect.

A scenario without a cause must raise no alarm. An alarm within the time of a cause belongs to it: the first is the
detection; one after a training on data with the cause is a repeated alarm.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from benchmarks.simulation import real
from benchmarks.simulation.play import ALL_RULES, NEVER
from benchmarks.simulation.world import (
    Recipe,
    Traffic,
    displeased,
    failing,
    late,
    longer,
    skewed,
    steady,
)
from models.triggers.rules import DriftRule, ErrorRateRule, FeedbackRule, Rule

WARM_DAYS = 95
"""Days of history before a change, so that references are as long as the rules require."""
MEASURED: tuple[Rule, ...] = (ErrorRateRule(), DriftRule(), FeedbackRule())


@dataclass(frozen=True, kw_only=True, slots=True)
class Cause:
    """A change that must be detected."""

    what: str
    day: float
    triggers: tuple[str, ...]
    """Triggers that may detect it; one is enough."""
    within_hours: float | None = None
    """The limit; None: the delay that the check before the change predicts."""
    over_day: float = np.inf
    """Alarms until this day belong to it."""
    must: bool = True
    """False: it may be detected or not, but not twice."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scenario:
    """Simulated traffic and its known causes."""

    name: str
    world: Callable[[], Traffic]
    days: float
    causes: Sequence[Cause] = ()
    rules: tuple[Rule, ...] = ALL_RULES
    first_day: float = WARM_DAYS - 8
    """The first day of checks; the first training happens then."""
    training_hours: int = 5
    fails: Callable[[int], bool] = field(default=lambda number: False)
    needs: str = ""
    """The public data set that it replays."""


def stationary(months: float, seeds: int) -> list[Scenario]:
    """Months without a change."""
    days = int(months * 30.4) + WARM_DAYS
    return [
        Scenario(
            name=f"stationary, {kind}, seed {seed}",
            world=_made(Recipe(days=days, seed=seed, daily_calls=calls, error_rate=rate, error_spread=spread)),
            days=days,
            first_day=WARM_DAYS,
        )
        for seed in range(seeds)
        for kind, calls, rate, spread in (
            ("Poisson, 50 errors a day", 500, 0.10, 0.0),
            ("overdispersed, 50 errors a day", 500, 0.10, 0.02),
            ("overdispersed, 12 errors a day", 300, 0.04, 0.08),
        )
    ]


def changes(folder: Path = real.FOLDER) -> list[Scenario]:
    """Scenarios with a change; ``folder`` has the public data sets."""
    return [*_errors(folder), *_drifts(folder), *_data(folder), *_trainings()]


def _made(recipe: Recipe, *then: Callable[[Traffic], Traffic]) -> Callable[[], Traffic]:
    def world() -> Traffic:
        traffic = steady(recipe)
        for change in then:
            traffic = change(traffic)
        return traffic

    return world


STEADY = Recipe(days=WARM_DAYS + 50, seed=11, error_rate=0.10)
"""600 calls, 60 errors and 180 ratings a day."""
AT = WARM_DAYS + 3.5
ERRORS = ("error_rate", "drift", "feedback")


def _errors(folder: Path) -> list[Scenario]:
    short = replace(STEADY, days=WARM_DAYS + 24)
    return [
        Scenario(
            name="errors doubled for good",
            world=_made(short, lambda t: failing(t, 2.0, AT)),
            days=short.days,
            causes=[Cause(what="errors x2", day=AT, triggers=ERRORS, within_hours=24)],
        ),
        Scenario(
            name="errors x6 for 5 hours",
            world=_made(short, lambda t: failing(t, 6.0, AT, AT + 5 / 24)),
            days=short.days,
            causes=[Cause(what="errors x6", day=AT, triggers=ERRORS, within_hours=24, over_day=AT + 32)],
        ),
        Scenario(
            name="two incidents, three weeks apart",
            world=_made(STEADY, lambda t: failing(failing(t, 4.0, AT, AT + 1), 4.0, AT + 21, AT + 22)),
            days=STEADY.days,
            causes=[
                Cause(what="errors x4, first", day=AT, triggers=ERRORS, within_hours=24, over_day=AT + 21),
                Cause(what="errors x4, again", day=AT + 21, triggers=ERRORS, within_hours=24),
            ],
        ),
        Scenario(
            name="errors creep up by half in three weeks, no schedule",
            world=_made(STEADY, lambda t: failing(t, 1.5, AT, ramp_days=21)),
            days=STEADY.days,
            causes=[Cause(what="errors +50%", day=AT, triggers=ERRORS, within_hours=32 * 24)],
            rules=(NEVER, *MEASURED),
        ),
        Scenario(
            name="provider incident of 8 hours (llmperf, bedrock)",
            world=_made(short, lambda t: real.llmperf_failures(folder, t, "bedrock_13b", AT, AT + 8 / 24)),
            days=short.days,
            causes=[Cause(what="65% fail", day=AT, triggers=ERRORS, within_hours=24, over_day=AT + 32)],
            needs="llmperf",
        ),
        Scenario(
            name="a provider's everyday failures (llmperf, perplexity)",
            world=_made(
                replace(short, error_rate=0.0), lambda t: real.llmperf_failures(folder, t, "perplexity_70b", 0)
            ),
            days=short.days,
            needs="llmperf",
        ),
    ]


def _drifts(folder: Path) -> list[Scenario]:
    short = replace(STEADY, days=WARM_DAYS + 24)
    drift = ("drift",)
    found = [
        Scenario(
            name="queries 3 sigma longer, at once",
            world=_made(short, lambda t: longer(t, 3.0, AT)),
            days=short.days,
            causes=[Cause(what="3 sigma", day=AT, triggers=drift, within_hours=24)],
        ),
        Scenario(
            name="queries 3 sigma longer, and back after three weeks",
            world=_made(STEADY, lambda t: longer(t, 3.0, AT, AT + 21)),
            days=STEADY.days,
            causes=[
                Cause(what="3 sigma", day=AT, triggers=drift, within_hours=24, over_day=AT + 21),
                Cause(what="back", day=AT + 21, triggers=drift, within_hours=48),
            ],
        ),
        Scenario(
            name="queries 3 sigma longer within six weeks, no schedule",
            world=_made(STEADY, lambda t: longer(t, 3.0, AT, ramp_days=42)),
            days=STEADY.days,
            causes=[Cause(what="2 sigma after 4 weeks", day=AT, triggers=drift, within_hours=35 * 24)],
            rules=(NEVER, *MEASURED),
        ),
        Scenario(
            name="the same with weekly trainings, which keep up",
            world=_made(STEADY, lambda t: longer(t, 3.0, AT, ramp_days=42)),
            days=STEADY.days,
        ),
        Scenario(
            name="token lengths of ServeGen's client 2",
            world=_made(short, lambda t: real.servegen_lengths(folder, t, "2", AT, first=7, last=11)),
            days=short.days,
            causes=[Cause(what="1.5 days later +2.5 sigma", day=AT + 1.5, triggers=drift, within_hours=36)],
            needs="servegen",
        ),
        Scenario(
            name="users displeased",
            world=_made(short, lambda t: displeased(t, 0.5, AT)),
            days=short.days,
            causes=[Cause(what="half thumbs down", day=AT, triggers=("feedback",), within_hours=7 * 24)],
        ),
    ]
    for series, day, what in NAB:
        cause = Cause(what=what, day=AT + day, triggers=drift, within_hours=36)
        found.append(
            Scenario(
                name=f"NAB {series.rpartition('/')[2]}",
                world=_made(short, lambda t, series=series: real.nab_lengths(folder, t, series, AT)),  # type: ignore[misc]
                days=WARM_DAYS + 13,
                causes=[cause] if what else [],
                needs="nab",
            )
        )
    return found


NAB = (
    ("realAWSCloudwatch/rds_cpu_utilization_cc0c53", 5.3, "+24 sigma"),
    ("realAWSCloudwatch/ec2_cpu_utilization_ac20cd", 7.0, "+5.8 sigma"),
    ("realAWSCloudwatch/rds_cpu_utilization_e47b3b", 3.6, "+5 sigma"),
    ("realAWSCloudwatch/ec2_cpu_utilization_24ae8d", 0.0, ""),
    ("realTraffic/occupancy_6005", 0.0, ""),
    ("realTraffic/speed_6005", 0.0, ""),
    ("realTraffic/TravelTime_451", 0.0, ""),
)
"""Series, days after the first five in which the level changes, and by how much; empty if only peaks are unusual."""


def _data(folder: Path) -> list[Scenario]:
    short = replace(STEADY, days=WARM_DAYS + 24)
    return [
        Scenario(
            name="outages: ServeGen's ten clients",
            world=lambda: real.servegen_traffic(folder, replace(short, seed=5)),
            days=short.days,
            needs="servegen",
        ),
        Scenario(
            name="bursts: ServeGen's client 38",
            world=lambda: real.servegen_traffic(folder, replace(short, seed=6), client="38"),
            days=short.days,
            needs="servegen",
        ),
        Scenario(
            name="two days without any traffic",
            world=_made(short, lambda t: t.take((t.at < AT * 86_400) | (t.at >= (AT + 2) * 86_400))),
            days=short.days,
        ),
        Scenario(
            name="a fifth of the rows lands up to 9 hours late",
            world=_made(short, lambda t: late(t, 0.2, 9)),
            days=short.days,
        ),
        Scenario(
            name="late rows, and errors doubled",
            world=_made(short, lambda t: late(failing(t, 2.0, AT), 0.2, 9)),
            days=short.days,
            causes=[Cause(what="errors x2", day=AT, triggers=ERRORS, within_hours=36)],
        ),
        Scenario(
            name="clients' clocks 2 hours ahead and 3 behind",
            world=_made(short, lambda t: skewed(skewed(t, 3, 2.0), 7, -3.0)),
            days=short.days,
        ),
    ]


def _trainings() -> list[Scenario]:
    short = replace(STEADY, days=WARM_DAYS + 14)
    return [
        Scenario(
            name="errors doubled, the next six trainings fail",
            world=_made(short, lambda t: failing(t, 2.0, AT)),
            days=short.days,
            causes=[Cause(what="errors x2", day=AT, triggers=ERRORS, within_hours=24)],
            fails=lambda number: 4 <= number < 10,
        ),
        Scenario(
            name="trainings that take 30 hours, errors x4",
            world=_made(short, lambda t: failing(t, 4.0, AT)),
            days=short.days,
            causes=[Cause(what="errors x4", day=AT, triggers=ERRORS, within_hours=24)],
            training_hours=30,
        ),
    ]

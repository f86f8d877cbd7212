"""The one way to put a launch plan into the calendar: when, in which time zone, whose it is, who is told of a failure.

What Flyte 1.16 makes of a schedule: its cron message has no time zone, and a bare expression means the scheduler's
local time, whatever that is. The scheduler's parser honours a ``CRON_TZ=`` prefix, which flytekit's own check refuses;
so the expression is checked bare and registered with its prefix. Everything is UTC, as the data are, unless a plan says
otherwise. Features promise to be there at two o'clock UTC, and an hour of somebody's summer must not move that.

A scheduler that was down delivers every fire it missed, one by one, each with the time it should have come. So a
scheduled workflow takes ``kickoff``, ``every_minutes`` and ``schedule``, and its task does the work by windows
(``lake.windows``).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

from flytekit import CronSchedule, Email, LaunchPlan
from flytekit.core.workflow import WorkflowBase
from flytekit.models.common import Annotations, Labels, Notification
from flytekit.models.concurrency import ConcurrencyPolicy
from flytekit.models.core.execution import WorkflowExecutionPhase
from flytekit.models.schedule import Schedule

from settings import settings

KICKOFF, EVERY, SCHEDULE = "kickoff", "every_minutes", "schedule"
"""Inputs that the calendar fills in where a workflow has them: the scheduled time, the time between two, the plan's
name."""
OWNER, COMPONENT, CADENCE = "owner", "component", "cadence"
"""Labels of every plan, and of the pods that it starts."""
ZONE, WORDS = "fuelline/time-zone", "fuelline/schedule"
"""Annotations: what the cron expression means, where the console has no room for it."""
PREFIX = "CRON_TZ="
"""What the scheduler's parser takes for the zone of the expression after it."""
NO_HAPPY_END = (
    WorkflowExecutionPhase.FAILED,
    WorkflowExecutionPhase.TIMED_OUT,
    WorkflowExecutionPhase.ABORTED,
)
DAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")


@dataclass(frozen=True, kw_only=True, slots=True)
class Cadence:
    """How often a plan fires."""

    name: str
    """One word, as a label."""
    words: str
    """As one says it, without the time zone."""
    every: timedelta
    """From one fire to the next."""


class Plan(LaunchPlan):
    """A launch plan that looks up who is to be told when it is registered, not when it is imported."""

    @property
    def notifications(self) -> list[Notification]:
        """An e-mail to each address of ``FUELLINE_ALERTS`` where a run fails, times out or is aborted."""
        told = settings().alert_addresses
        return [Email(phases=list(NO_HAPPY_END), recipients_email=list(told))] if told else []


def scheduled(
    name: str,
    workflow: WorkflowBase,
    cron: str,
    *,
    owner: str,
    time_zone: str = "UTC",
    fixed_inputs: Mapping[str, Any] | None = None,
    one_at_a_time: bool = True,
) -> LaunchPlan:
    """A launch plan with a place in the calendar.

    Args:
        name: of the plan, and of its chain ``schedules/<name>`` in the ledger.
        workflow: what runs. Its ``kickoff: datetime`` gets the scheduled time, its ``every_minutes: int`` the
            time between two fires and its ``schedule: str`` the plan's name, where it has such inputs: what
            ``tasks.runtime.due`` asks for. Every other input needs a fixed or a default value.
        cron: five fields, fired at a constant interval; ``cadence`` lists the forms.
        owner: the team that answers for it; a label.
        time_zone: an IANA name. Other than UTC, a day may last 23 or 25 hours.
        fixed_inputs: what changes behaviour; shown in the console, cannot be changed there.
        one_at_a_time: let Flyte turn a fire away while a run is on; its scheduler then asks again for up to an hour.
            Admin's check has a race, so it saves pods and guards nothing.

    Raises:
        ValueError: the cron expression is malformed or of no form with a constant interval.
        zoneinfo.ZoneInfoNotFoundError: no such time zone.
    """
    rhythm, inputs = cadence(cron), workflow.python_interface.inputs
    given = {EVERY: rhythm.every // timedelta(minutes=1), SCHEDULE: name}
    return Plan.create(
        name=name,
        workflow=workflow,
        fixed_inputs={**{key: value for key, value in given.items() if key in inputs}, **(fixed_inputs or {})},
        schedule=_schedule(cron, time_zone, KICKOFF if KICKOFF in inputs else None),
        concurrency=ConcurrencyPolicy(max_concurrency=1) if one_at_a_time else None,
        **_signs(workflow, owner, rhythm.name, {ZONE: time_zone, WORDS: f"{rhythm.words} {time_zone}"}),
    )


def on_demand(
    name: str,
    workflow: WorkflowBase,
    *,
    owner: str,
    fixed_inputs: Mapping[str, Any] | None = None,
    default_inputs: Mapping[str, Any] | None = None,
    one_at_a_time: bool = False,
) -> LaunchPlan:
    """A launch plan that a person, or another workflow, starts; otherwise as ``scheduled``."""
    return Plan.create(
        name=name,
        workflow=workflow,
        fixed_inputs=dict(fixed_inputs or {}),
        default_inputs=dict(default_inputs or {}),
        concurrency=ConcurrencyPolicy(max_concurrency=1) if one_at_a_time else None,
        **_signs(workflow, owner, "on-demand", {WORDS: "on demand"}),
    )


def cadence(cron: str) -> Cadence:
    """What a cron expression of these forms means: every M minutes, hourly, every H hours, daily, weekly.

    Raises:
        ValueError: it has another form, or is no cron expression at all.
    """
    CronSchedule(schedule=cron)
    minute, hour, *dates = cron.split()
    if step := re.fullmatch(r"\*/(\d+)", minute):
        return _each("minute", int(step[1]), 60, cron if [hour, *dates] == ["*"] * 4 else "", "")
    at, plain = f":{minute:0>2}", minute.isdecimal() and dates[:2] == ["*", "*"]
    if plain and dates[2] == "*" and hour == "*":
        return Cadence(name="hourly", words=f"every hour at {at}", every=timedelta(hours=1))
    if plain and dates[2] == "*" and (step := re.fullmatch(r"\*/(\d+)", hour)):
        return _each("hour", int(step[1]), 24, cron, f" at {at}")
    if plain and hour.isdecimal() and dates[2] == "*":
        return Cadence(name="daily", words=f"every day at {hour:0>2}{at}", every=timedelta(days=1))
    if plain and hour.isdecimal() and dates[2].isdecimal():
        return Cadence(
            name="weekly", words=f"every {DAYS[int(dates[2]) % 7]} at {hour:0>2}{at}", every=timedelta(weeks=1)
        )
    raise ValueError(f"{cron!r} fires at no constant interval that can be told; see launchplans.schedule.cadence")


def _each(unit: str, count: int, whole: int, cron: str, at: str) -> Cadence:
    """Every ``count`` units, which must part the hour or the day evenly, or the last interval would be shorter."""
    if not cron or not count or whole % count:
        raise ValueError(f"every {count} {unit}s does not part {whole} {unit}s evenly, or stands beside other fields")
    every = timedelta(**{f"{unit}s": count})
    return Cadence(name=f"{count}-{unit}s", words=f"every {count} {unit}s{at}", every=every)


def _schedule(cron: str, time_zone: str, kickoff: str | None) -> Schedule:
    """The message for the scheduler; flytekit's own class would refuse the prefix."""
    expression = f"{PREFIX}{ZoneInfo(time_zone).key} {cron}"
    return Schedule(kickoff, cron_schedule=Schedule.CronSchedule(expression, None))


def _signs(workflow: WorkflowBase, owner: str, rhythm: str, notes: dict[str, str]) -> dict[str, Any]:
    component = workflow.name.split(".")[-2]
    return {
        "labels": Labels({OWNER: owner, COMPONENT: component, CADENCE: rhythm}),
        "annotations": Annotations(notes),
    }

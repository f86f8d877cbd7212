"""Declares a launch plan: its schedule and time zone, its owner, and who is notified of a failure.

Schedules in Flyte 1.16: the cron message has no time zone, and an expression without one means the scheduler's local
time. The scheduler's parser accepts a ``CRON_TZ=`` prefix, which flytekit's own check refuses; so the expression is
checked without the prefix and registered with it. Schedules are in UTC, as the data are, unless a plan says otherwise:
the times at which features become available must not change with daylight saving time.

After an outage the scheduler delivers every scheduled time that it missed, one by one. So a scheduled workflow takes
``kickoff``, ``every_minutes`` and ``schedule``, and its task processes windows (``lake.windows``).
"""

import re
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from flytekit import CronSchedule, Email, LaunchPlan
from flytekit.core.workflow import WorkflowBase
from flytekit.models.common import Annotations, Labels, Notification
from flytekit.models.concurrency import ConcurrencyPolicy
from flytekit.models.core.execution import WorkflowExecutionPhase
from flytekit.models.schedule import Schedule

from settings import settings

KICKOFF, EVERY, SCHEDULE = "kickoff", "every_minutes", "schedule"
"""Inputs that are set where a workflow has them: the scheduled time, the minutes between two, the plan's name."""
OWNER, COMPONENT, CADENCE = "owner", "component", "cadence"
"""Labels of every plan, and of the pods that it starts."""
ZONE, DESCRIPTION = "fuelline/time-zone", "fuelline/schedule"
"""Annotations: the time zone, and the schedule in words."""
NEEDS, UNLESS = "fuelline/needs", "fuelline/unless"
"""Annotations: settings of which one must be there before registration activates the schedule, and one that must not
be, both separated by spaces. Empty: always activated."""
PREFIX = "CRON_TZ="
"""Prefix by which the scheduler's parser reads a time zone before the expression."""
UNSUCCESSFUL = [WorkflowExecutionPhase.FAILED, WorkflowExecutionPhase.TIMED_OUT, WorkflowExecutionPhase.ABORTED]
DAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")


class Cadence(NamedTuple):
    """How often a plan runs: in one word, as a label, and in a few, without the time zone."""

    name: str
    description: str
    every: timedelta


class NotifyingLaunchPlan(LaunchPlan):
    """A launch plan that reads whom to notify when it is registered, not when it is imported."""

    @property
    def notifications(self) -> list[Notification]:
        """An e-mail to each address of ``FUELLINE_ALERTS`` where a run fails, times out or is aborted."""
        addresses = settings().alert_addresses
        return [Email(phases=UNSUCCESSFUL, recipients_email=list(addresses))] if addresses else []


def scheduled(
    name: str,
    workflow: WorkflowBase,
    cron: str,
    fixed_inputs: Mapping[str, Any] | None = None,
    *,
    owner: str,
    time_zone: str = "UTC",
    one_at_a_time: bool = True,
    needs: Sequence[str] = (),
    unless: str = "",
) -> LaunchPlan:
    """A launch plan that runs on a schedule.

    Args:
        name: of the plan, and of its chain ``schedules/<name>`` in the ledger.
        workflow: what runs. Where it has these inputs, ``kickoff: datetime`` gets the scheduled time,
            ``every_minutes: int`` the time between two runs and ``schedule: str`` the plan's name, as
            ``tasks.runtime.due`` needs them. Every other input needs a fixed or a default value.
        cron: five fields with a constant interval, in a form of ``cadence``.
        fixed_inputs: what changes behaviour; shown in the console, cannot be changed there.
        owner: the responsible team; a label.
        time_zone: an IANA name, else ``ZoneInfoNotFoundError``. In other zones than UTC a day may last 23 or 25 hours.
        one_at_a_time: let Flyte reject a run while another is running; its scheduler then tries again for up to an
            hour. FlyteAdmin's check has a race, so this saves pods and guarantees nothing.
        needs: fields of ``settings.Settings`` of which one has to be set for the schedule to be activated.
        unless: a field that must not be set, because what it names brings the same data.
    """
    period, inputs = cadence(cron), workflow.python_interface.inputs
    filled = {EVERY: period.every // timedelta(minutes=1), SCHEDULE: name}
    # A message, because flytekit's own class would refuse the prefix.
    expression = Schedule.CronSchedule(f"{PREFIX}{ZoneInfo(time_zone).key} {cron}", None)
    return NotifyingLaunchPlan.create(
        name=name,
        workflow=workflow,
        fixed_inputs={**{key: value for key, value in filled.items() if key in inputs}, **(fixed_inputs or {})},
        schedule=Schedule(KICKOFF if KICKOFF in inputs else None, cron_schedule=expression),
        concurrency=ConcurrencyPolicy(max_concurrency=1) if one_at_a_time else None,
        labels=_labels(workflow, owner, period.name),
        annotations=Annotations(
            {ZONE: time_zone, DESCRIPTION: f"{period.description} {time_zone}"}
            | ({NEEDS: " ".join(f"FUELLINE_{name.upper()}" for name in needs)} if needs else {})
            | ({UNLESS: f"FUELLINE_{unless.upper()}"} if unless else {})
        ),
    )


def on_demand(
    name: str,
    workflow: WorkflowBase,
    *,
    owner: str,
    default_inputs: Mapping[str, Any] | None = None,
    one_at_a_time: bool = False,
) -> LaunchPlan:
    """A launch plan that a person or another workflow starts; otherwise as ``scheduled``."""
    return NotifyingLaunchPlan.create(
        name=name,
        workflow=workflow,
        default_inputs=dict(default_inputs or {}),
        concurrency=ConcurrencyPolicy(max_concurrency=1) if one_at_a_time else None,
        labels=_labels(workflow, owner, "on-demand"),
        annotations=Annotations({DESCRIPTION: "on demand"}),
    )


def unmet(annotations: Mapping[str, str], provided: Collection[str]) -> str:
    """Why a schedule with these annotations has nothing to run on where these variables are set; empty: it has."""
    needs, unless = annotations.get(NEEDS, "").split(), annotations.get(UNLESS, "")
    if needs and not set(needs) & set(provided):
        return f"{needs[0]} is not set" if len(needs) == 1 else f"neither {' nor '.join(needs)} is set"
    return f"{unless} is set, which brings the same data" if unless in provided and unless else ""


def cadence(cron: str) -> Cadence:
    """The interval of a cron expression of these forms: every M minutes, hourly, every H hours, daily, weekly.

    Raises ValueError where it has another form, or is no cron expression.
    """
    CronSchedule(schedule=cron)
    minute, hour, *dates = cron.split()
    step, at = re.fullmatch(r"\*/(\d+)", minute if hour == "*" else hour), f":{minute:0>2}"
    match dates:
        case ["*", "*", "*"] if step and hour == "*":
            return _each("minute", int(step[1]), 60)
        case ["*", "*", "*"] if step and minute.isdecimal():
            return _each("hour", int(step[1]), 24, f" at {at}")
        case ["*", "*", "*"] if minute.isdecimal() and hour == "*":
            return Cadence("hourly", f"every hour at {at}", timedelta(hours=1))
        case ["*", "*", "*"] if minute.isdecimal() and hour.isdecimal():
            return Cadence("daily", f"every day at {hour:0>2}{at}", timedelta(days=1))
        case ["*", "*", day] if minute.isdecimal() and hour.isdecimal() and day.isdecimal():
            return Cadence("weekly", f"every {DAYS[int(day) % 7]} at {hour:0>2}{at}", timedelta(weeks=1))
    raise ValueError(f"{cron!r} has no supported constant interval; launchplans.schedule.cadence lists the forms")


def _each(unit: str, count: int, whole: int, at: str = "") -> Cadence:
    """Every ``count`` units, which must divide the hour or the day evenly: else the last interval would be shorter."""
    if not count or whole % count:
        raise ValueError(f"every {count} {unit}s does not divide {whole} {unit}s evenly")
    return Cadence(f"{count}-{unit}s", f"every {count} {unit}s{at}", timedelta(**{f"{unit}s": count}))


def _labels(workflow: WorkflowBase, owner: str, cadence_name: str) -> Labels:
    return Labels({OWNER: owner, COMPONENT: workflow.name.split(".")[-2], CADENCE: cadence_name})

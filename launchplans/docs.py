"""The page of launch plans: when each runs, with which inputs, who owns it, what it does.

It is generated from the code, so that it cannot differ from what is registered.
``fuelline docs launchplans > docs/launchplans.md`` writes it; a test holds the committed page to it.
"""

import dataclasses
from collections.abc import Iterator
from enum import Enum

from flytekit import LaunchPlan

from launchplans.registry import launch_plans
from launchplans.schedule import DESCRIPTION, KICKOFF, NEEDS, OWNER, PREFIX, UNLESS, ZONE
from reports.common.html import render


def page() -> str:
    """The whole page, as Markdown: the most frequent plans first, those on demand last."""
    plans = sorted(launch_plans().values(), key=_sort_key)
    names = {"DESCRIPTION": DESCRIPTION, "NEEDS": NEEDS, "OWNER": OWNER, "UNLESS": UNLESS, "ZONE": ZONE}
    return render("launchplans.md", plans=plans, cron=_cron, inputs=_inputs, **names)


def _inputs(plan: LaunchPlan) -> Iterator[tuple[str, str, str, str]]:
    """Name, value, where the value comes from, and meaning of each input: the fixed ones first."""
    interface = plan.workflow.python_interface
    for name in sorted(interface.inputs, key=lambda name: (name not in plan.fixed_inputs.literals, name)):
        meaning = plan.workflow.interface.inputs[name].description or ""
        _, default = interface.inputs_with_defaults[name]
        value, how = plan.saved_inputs.get(name, default), "default"
        if name in plan.fixed_inputs.literals:
            how = "fixed"
        elif name == KICKOFF and plan.schedule:
            value, how = None, "set by the scheduler"
        elif value is None:
            how = "required"
        yield name, _value_text(value), how, " ".join(meaning.split())


def _value_text(value: object) -> str:
    if value is None:
        return ""
    if dataclasses.is_dataclass(value):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return "<br>".join(f"{name}: {_value_text(field)}" for name, field in fields.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_value_text, value)) or "none"
    return f"`{value.value if isinstance(value, Enum) else value}`"


def _sort_key(plan: LaunchPlan) -> tuple[int, list[str], str]:
    """By the number of wildcards in the cron expression, then by the time of day; plans without a schedule last."""
    if plan.schedule is None:
        return 1, [], plan.name
    cron = _cron(plan)
    minute, hour, *_ = cron.split()
    return -cron.count("*"), [hour.zfill(4), minute.zfill(4)], plan.name


def _cron(plan: LaunchPlan) -> str:
    """The five fields of the schedule, without the zone."""
    _, _, fields = str(plan.schedule.cron_schedule.schedule).removeprefix(PREFIX).partition(" ")
    return fields

"""All launch plans and workflows, by name: what registration writes.

Every module of ``workflows`` and ``launchplans`` is registered; there is no list to maintain.
"""

import importlib
import pkgutil
from dataclasses import dataclass
from types import ModuleType
from typing import TypeVar

from flytekit import LaunchPlan
from flytekit.core.workflow import WorkflowBase
from pydantic import SecretStr

import launchplans
import workflows
from launchplans.schedule import DESCRIPTION, NEEDS, unmet
from settings import Settings

Named = TypeVar("Named", LaunchPlan, WorkflowBase)


def launch_plans() -> dict[str, LaunchPlan]:
    """Every launch plan that a module of ``launchplans`` declares, by name."""
    return _declared(launchplans, LaunchPlan)


@dataclass(frozen=True, kw_only=True, slots=True)
class ScheduleNeeds:
    """A scheduled launch plan and what it needs."""

    name: str
    runs: str
    """How often, in words."""
    needs: str
    """The settings of which one has to be there; empty: none."""
    missing: str
    """Why it has nothing to run on; empty: it has."""


def schedules(settings: Settings) -> list[ScheduleNeeds]:
    """Every scheduled launch plan, and what it is missing in these settings."""
    provided = {f"FUELLINE_{name.upper()}" for name in Settings.model_fields if _is_set(settings, name)}
    plans = {name: plan.annotations.values for name, plan in launch_plans().items() if plan.schedule}
    return [
        ScheduleNeeds(
            name=name,
            runs=values[DESCRIPTION],
            needs=values.get(NEEDS, "").replace(" ", " or "),
            missing=unmet(values, provided),
        )
        for name, values in plans.items()
    ]


def _is_set(settings: Settings, name: str) -> bool:
    value = getattr(settings, name)
    return bool(value.get_secret_value() if isinstance(value, SecretStr) else value)


def registered_workflows() -> dict[str, WorkflowBase]:
    """Every workflow that a module of ``workflows`` declares, by name."""
    return _declared(workflows, WorkflowBase)


def _declared(package: ModuleType, kind: type[Named]) -> dict[str, Named]:
    names = sorted(module.name for module in pkgutil.iter_modules(package.__path__))
    modules = [importlib.import_module(f"{package.__name__}.{name}") for name in names]
    values = (value for module in modules for value in vars(module).values())
    return {value.name: value for value in values if isinstance(value, kind)}

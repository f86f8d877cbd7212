"""All launch plans and workflows, by name: what registration writes.

Every module of ``workflows`` and ``launchplans`` is registered; there is no list to maintain.
"""

import importlib
import pkgutil
from types import ModuleType
from typing import TypeVar

from flytekit import LaunchPlan
from flytekit.core.workflow import WorkflowBase

import launchplans
import workflows

Named = TypeVar("Named", LaunchPlan, WorkflowBase)


def launch_plans() -> dict[str, LaunchPlan]:
    """Every launch plan that a module of ``launchplans`` declares, by name."""
    return _declared(launchplans, LaunchPlan)


def registered_workflows() -> dict[str, WorkflowBase]:
    """Every workflow that a module of ``workflows`` declares, by name."""
    return _declared(workflows, WorkflowBase)


def _declared(package: ModuleType, kind: type[Named]) -> dict[str, Named]:
    names = sorted(module.name for module in pkgutil.iter_modules(package.__path__))
    modules = [importlib.import_module(f"{package.__name__}.{name}") for name in names]
    values = (value for module in modules for value in vars(module).values())
    return {value.name: value for value in values if isinstance(value, kind)}

"""All launch plans and workflows, by name: what registration writes.

Every module of ``workflows`` and ``launchplans`` is registered; there is no list to maintain.
"""

import importlib
import pkgutil
from types import ModuleType

from flytekit import LaunchPlan
from flytekit.core.workflow import WorkflowBase

import launchplans
import workflows


def launch_plans() -> dict[str, LaunchPlan]:
    """Every launch plan that a module of ``launchplans`` declares, by name."""
    found = (value for module in _modules(launchplans) for value in vars(module).values())
    return {plan.name: plan for plan in found if isinstance(plan, LaunchPlan)}


def registered_workflows() -> dict[str, WorkflowBase]:
    """Every workflow that a module of ``workflows`` declares, by name."""
    values = (value for module in _modules(workflows) for value in vars(module).values())
    return {found.name: found for found in values if isinstance(found, WorkflowBase)}


def _modules(package: ModuleType) -> list[ModuleType]:
    names = sorted(module.name for module in pkgutil.iter_modules(package.__path__))
    return [importlib.import_module(f"{package.__name__}.{name}") for name in names]

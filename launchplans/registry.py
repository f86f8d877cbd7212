"""Every launch plan and workflow there is: what registration writes, and what a name is looked up in.

A module of ``workflows`` or ``launchplans`` that is there is registered: nobody keeps a list.
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


def graphs() -> dict[str, WorkflowBase]:
    """Every workflow that a module of ``workflows`` declares, by name."""
    found = (value for module in _modules(workflows) for value in vars(module).values())
    return {graph.name: graph for graph in found if isinstance(graph, WorkflowBase)}


def _modules(package: ModuleType) -> list[ModuleType]:
    names = sorted(module.name for module in pkgutil.iter_modules(package.__path__))
    return [importlib.import_module(f"{package.__name__}.{name}") for name in names]

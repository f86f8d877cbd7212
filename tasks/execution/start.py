"""Start a launch plan by its name, without waiting for it.

Starting is idempotent: a name starts one execution, however often it is called. On a cluster FlyteAdmin guarantees it,
and the launch plan has the version that the calling task was registered under, so that versions do not mix. On a
laptop the execution is a process (``tasks.execution.local``) that outlives the run that started it.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, is_dataclass
from enum import Enum
from typing import Any

from flytekit import FlyteContextManager, current_context
from flytekit.configuration import Config
from flytekit.core.type_engine import TypeEngine
from flytekit.exceptions.user import FlyteEntityAlreadyExistsException, FlyteEntityNotExistException
from flytekit.models.core.execution import WorkflowExecutionPhase
from flytekit.models.core.identifier import Identifier, ResourceType, WorkflowExecutionIdentifier
from flytekit.models.execution import ExecutionMetadata, ExecutionSpec, NotificationList
from flytekit.models.interface import Parameter
from flytekit.models.launch_plan import LaunchPlan
from flytekit.models.literals import LiteralMap
from flytekit.remote import FlyteRemote

from errors import PeerError, UserError
from tasks.execution import local
from tasks.execution.admin import admin_errors
from tasks.runtime import on_cluster

MAX_NAME = 63
"""Longest name of an execution, in characters: it becomes the value of a Kubernetes label."""


class Phase(Enum):
    """The state of an execution. ``UNKNOWN``: no such execution was ever started, so it may be started now."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    ABORTED = "aborted"
    UNKNOWN = "unknown"


ENDS = {
    WorkflowExecutionPhase.SUCCEEDED: Phase.SUCCEEDED,
    WorkflowExecutionPhase.FAILED: Phase.FAILED,
    WorkflowExecutionPhase.TIMED_OUT: Phase.FAILED,
    WorkflowExecutionPhase.ABORTED: Phase.ABORTED,
}
"""In every other phase of Flyte an execution is running."""


class ConcurrencyLimitReached(PeerError):
    """The launch plan has as many runs as its concurrency policy allows: try again later."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Started:
    """An execution that is running, or has run."""

    name: str
    """The execution's name in the form that Flyte accepts."""
    place: str
    """Its page in the console, or its log file."""
    already: bool
    """Whether it had been started before, so that nothing was started now."""


def start(launch_plan: str, inputs: Mapping[str, Any], *, name: str) -> Started:
    """Start ``launch_plan`` as the execution ``name``; return at once.

    Raises:
        UserError: there is no such launch plan, or it does not have these inputs. On a laptop the execution fails
            instead, and its log says why.
        ConcurrencyLimitReached: the launch plan's concurrency policy allows no further run now.
        PeerError: FlyteAdmin does not answer.
    """
    execution = execution_name(name)
    begin = _start_on_cluster if on_cluster() else local.start
    place, already = begin(launch_plan, inputs, execution)
    return Started(name=execution, place=place, already=already)


def phase(name: str) -> Phase:
    """The state of the execution ``name``, so that a lost or aborted one is found."""
    execution = execution_name(name)
    if not on_cluster():
        return Phase(local.phase(execution))
    remote, identifier = identified(execution)
    with admin_errors(remote.config.platform):
        return _phase_on_cluster(remote, identifier)


def execution_name(name: str) -> str:
    """``name`` if FlyteAdmin accepts it (``^[a-z][a-z0-9-]*$``, 63 characters), else a form of it with a digest."""
    if re.fullmatch(r"[a-z][a-z0-9-]*", name) and len(name) <= MAX_NAME:
        return name
    readable = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[: MAX_NAME - 12].strip("-")
    return f"{'' if readable[:1].isalpha() else 'x-'}{readable}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _start_on_cluster(launch_plan: str, inputs: Mapping[str, Any], execution: str) -> tuple[str, bool]:
    """Its page in the console, and whether it was started before."""
    remote, identifier = identified(execution)
    manual = ExecutionMetadata(ExecutionMetadata.ExecutionMode.MANUAL, "fuelline", 0)
    with admin_errors(remote.config.platform):
        plan = _plan_of_this_version(remote, launch_plan)
        spec = ExecutionSpec(plan.id, manual, notifications=NotificationList([]))
        literals = _literals(launch_plan, inputs, plan.closure.expected_inputs.parameters)
        try:
            remote.client.create_execution(identifier.project, identifier.domain, identifier.name, spec, literals)
            already = False
        except FlyteEntityAlreadyExistsException as error:  # its answer also to too many runs of a launch plan
            if _phase_on_cluster(remote, identifier) is Phase.UNKNOWN:
                reason = f"{launch_plan!r} has as many runs as its concurrency policy allows; try again later"
                raise ConcurrencyLimitReached(reason) from error
            already = True
    return remote.generate_console_url(identifier), already


def _phase_on_cluster(remote: FlyteRemote, identifier: WorkflowExecutionIdentifier) -> Phase:
    try:
        return ENDS.get(remote.client.get_execution(identifier).closure.phase, Phase.RUNNING)
    except FlyteEntityNotExistException:
        return Phase.UNKNOWN


def identified(execution: str) -> tuple[FlyteRemote, WorkflowExecutionIdentifier]:
    """The server that runs this task, found through ``FLYTE_PLATFORM_URL`` and similar variables, and the execution of
    this name in the task's project.
    """
    project, domain = current_context().execution_id.project, current_context().execution_id.domain
    remote = FlyteRemote(Config.auto(), default_project=project, default_domain=domain, interactive_mode_enabled=False)
    return remote, WorkflowExecutionIdentifier(project, domain, execution)


def _plan_of_this_version(remote: FlyteRemote, name: str) -> LaunchPlan:
    task = current_context().task_id
    identifier = Identifier(ResourceType.LAUNCH_PLAN, task.project, task.domain, name, task.version)
    try:
        return remote.client.get_launch_plan(identifier)
    except FlyteEntityNotExistException:
        raise UserError(f"version {task.version} of {task.project}/{task.domain} has no launch plan {name!r}") from None


def _literals(plan: str, inputs: Mapping[str, Any], expected: Mapping[str, Parameter]) -> LiteralMap:
    unknown = sorted(set(inputs) - set(expected))
    if unknown:
        raise UserError(f"launch plan {plan!r} has the inputs {', '.join(sorted(expected))}, not {', '.join(unknown)}")
    context, literals = FlyteContextManager.current_context(), {}
    for name, value in inputs.items():
        kind, own = expected[name].var.type, is_dataclass(value) or isinstance(value, Enum)
        # A dataclass keeps its own type: guessed from the schema it would be another class.
        hint = type(value) if own else TypeEngine.guess_python_type(kind)
        literals[name] = TypeEngine.to_literal(context, value, hint, kind)
    return LiteralMap(literals)

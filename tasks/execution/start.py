"""Start a launch plan by its name, without waiting for it: what a sensor does when it has decided.

Starting is idempotent: a name starts one execution, however often it is asked for. On a cluster FlyteAdmin holds that,
and the launch plan is of the version that the calling task was registered under, so that one version stays together.
On a laptop it is a process of its own (``tasks.execution.local``), which outlives the run that started it.
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
from flytekit.models.literals import Literal, LiteralMap
from flytekit.remote import FlyteRemote

from errors import PeerError, UserError
from tasks.execution import local
from tasks.execution.admin import connect, speaking
from tasks.runtime import on_cluster

MAX_NAME = 63
"""Characters of an execution's name at most: it becomes the value of a Kubernetes label."""


class Phase(Enum):
    """How an execution stands. ``UNKNOWN``: no such execution was ever started, so it may be started now."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    ABORTED = "aborted"
    UNKNOWN = "unknown"


class TurnedAway(PeerError):
    """As many runs of the launch plan are on as its concurrency policy allows: ask again later."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Started:
    """An execution that is under way, or has been."""

    name: str
    """The execution's name: the one asked for, in the form that Flyte takes."""
    place: str
    """Where to look at it: its page in the console, or its log file."""
    already: bool
    """It had been started before, so nothing was started now."""


def start(launch_plan: str, inputs: Mapping[str, Any], *, name: str) -> Started:
    """Start ``launch_plan`` as the execution ``name``; return at once.

    Raises:
        UserError: there is no such launch plan, or it does not take these inputs. On a laptop the execution fails
            instead, and its log says why.
        TurnedAway: the launch plan's concurrency policy allows no further run now.
        PeerError: FlyteAdmin is away.
    """
    execution = execution_name(name)
    if not on_cluster():
        place, already = local.start(launch_plan, inputs, execution)
        return Started(name=execution, place=place, already=already)
    place, already = _start_on_cluster(launch_plan, inputs, execution)
    return Started(name=execution, place=place, already=already)


def phase(name: str) -> Phase:
    """How the execution ``name`` stands, so that one that was lost or aborted is found."""
    execution = execution_name(name)
    return _phase_on_cluster(execution) if on_cluster() else Phase(local.phase(execution))


def execution_name(name: str) -> str:
    """``name`` as FlyteAdmin takes it (``^[a-z][a-z0-9-]*$``, 63 characters): itself, or a form with a digest of it."""
    if re.fullmatch(r"[a-z][a-z0-9-]*", name) and len(name) <= MAX_NAME:
        return name
    readable = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[: MAX_NAME - 12].strip("-")
    return f"{'' if readable[:1].isalpha() else 'x-'}{readable}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _start_on_cluster(launch_plan: str, inputs: Mapping[str, Any], execution: str) -> tuple[str, bool]:
    remote = _here()
    named = WorkflowExecutionIdentifier(remote.default_project, remote.default_domain, execution)
    with speaking(remote.config.platform):
        plan = _plan_of_this_version(remote, launch_plan)
        spec = ExecutionSpec(
            plan.id,
            ExecutionMetadata(ExecutionMetadata.ExecutionMode.MANUAL, "fuelline", 0),
            notifications=NotificationList([]),
        )
        literals = _literals(launch_plan, inputs, plan.closure.expected_inputs.parameters)
        try:
            remote.client.create_execution(named.project, named.domain, named.name, spec, literals)
        except FlyteEntityAlreadyExistsException as error:
            _check_it_is_there(remote, named, launch_plan, error)
            return remote.generate_console_url(named), True
    return remote.generate_console_url(named), False


def _check_it_is_there(
    remote: FlyteRemote, named: WorkflowExecutionIdentifier, launch_plan: str, error: Exception
) -> None:
    """FlyteAdmin says ALREADY_EXISTS of a name that is taken, and of one run too many of a launch plan."""
    try:
        remote.client.get_execution(named)
    except FlyteEntityNotExistException:
        raise TurnedAway(f"{launch_plan!r} has as many runs as its concurrency policy allows; ask later") from error


def _phase_on_cluster(execution: str) -> Phase:
    remote = _here()
    named = WorkflowExecutionIdentifier(remote.default_project, remote.default_domain, execution)
    try:
        with speaking(remote.config.platform):
            found = remote.client.get_execution(named).closure.phase
    except FlyteEntityNotExistException:
        return Phase.UNKNOWN
    return _ENDS.get(found, Phase.RUNNING)


_ENDS = {
    WorkflowExecutionPhase.SUCCEEDED: Phase.SUCCEEDED,
    WorkflowExecutionPhase.FAILED: Phase.FAILED,
    WorkflowExecutionPhase.TIMED_OUT: Phase.FAILED,
    WorkflowExecutionPhase.ABORTED: Phase.ABORTED,
}


def _here() -> FlyteRemote:
    """The server that runs this very task, found by ``FLYTE_PLATFORM_URL`` and its like, and this task's project."""
    execution = current_context().execution_id
    return connect(Config.auto(), project=execution.project, domain=execution.domain)


def _plan_of_this_version(remote: FlyteRemote, name: str) -> LaunchPlan:
    task = current_context().task_id
    sought = Identifier(ResourceType.LAUNCH_PLAN, task.project, task.domain, name, task.version)
    try:
        return remote.client.get_launch_plan(sought)
    except FlyteEntityNotExistException:
        raise UserError(f"version {task.version} of {task.project}/{task.domain} has no launch plan {name!r}") from None


def _literals(plan: str, inputs: Mapping[str, Any], expected: Mapping[str, Parameter]) -> LiteralMap:
    unknown = sorted(set(inputs) - set(expected))
    if unknown:
        raise UserError(f"launch plan {plan!r} takes {', '.join(sorted(expected))}, and not {', '.join(unknown)}")
    return LiteralMap({name: _literal(value, expected[name]) for name, value in inputs.items()})


def _literal(value: Any, expected: Parameter) -> Literal:
    """A dataclass says itself what it is: guessed from its schema it would be a class of another identity."""
    own = is_dataclass(value) or isinstance(value, Enum)
    hint = type(value) if own else TypeEngine.guess_python_type(expected.var.type)
    return TypeEngine.to_literal(FlyteContextManager.current_context(), value, hint, expected.var.type)

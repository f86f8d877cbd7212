"""How an execution ended: the stage that failed, its attempts and the first line of its error.

FlyteAdmin knows the stage from the execution's nodes. The failure handler does not: its ``err.failed_node_id`` is its
own node, ``fn0``. An abort runs no handler, so the next check of the run asks for its end.
"""

import re
import sys

from flytekit.models.core.execution import NodeExecutionPhase
from flytekit.models.core.identifier import WorkflowExecutionIdentifier
from flytekit.models.node_execution import NodeExecution
from flytekit.remote import FlyteRemote

import errors
from errors import PeerError
from models.retraining.outcome import RunEnd
from tasks.execution.admin import admin_errors
from tasks.execution.start import Phase, execution_name, identified, phase
from tasks.runtime import execution, log, on_cluster

HANDLER = "fn0"
"""Node of the failure handler."""
UNSUCCESSFUL = (
    NodeExecutionPhase.FAILING,
    NodeExecutionPhase.FAILED,
    NodeExecutionPhase.TIMED_OUT,
    NodeExecutionPhase.ABORTED,
)
MAX_ERROR = 200
"""Longest error, in characters."""


def run_end(name: str) -> RunEnd | None:
    """How the execution ``name`` ended; None while it runs, or where no such execution is known.

    Raises:
        PeerError: FlyteAdmin does not answer.
    """
    reached = phase(name)
    if reached in (Phase.RUNNING, Phase.UNKNOWN):
        return None
    end = failed_stage(name) if on_cluster() and reached is not Phase.SUCCEEDED else RunEnd()
    return RunEnd(outcome=reached.value, stage=end.stage, attempts=end.attempts, error=end.error)


def failed_stage(name: str) -> RunEnd:
    """The stage in which an execution on a cluster has failed or was aborted; its outcome is left open."""
    remote, run = identified(execution_name(name))
    with admin_errors(remote.config.platform):
        node = _failed_leaf(remote, run)
        if node is None:
            return RunEnd()
        attempts, _ = remote.client.list_task_executions_paginated(node.id)
        whole = remote.client.get_node_execution(node.id)  # lists cut the error after about 100 characters
    stage = attempts[0].id.task_id.name.rpartition(".")[2] if attempts else node.id.node_id
    error = first_line(whole.closure.error.message) if whole.closure.error else ""
    return RunEnd(stage=stage, attempts=len(attempts), error=error)


def end_of_this_run() -> RunEnd:
    """What a failure handler records of its own execution. Without FlyteAdmin's answer the stage stays unknown."""
    if not on_cluster():
        return _local_end(sys.exc_info()[1])
    try:
        return failed_stage(execution())
    except PeerError as error:
        log.warning("the stage that failed is not known: %s", error)
        return RunEnd()


def first_line(message: str) -> str:
    """The first line of a task's error, without users' text.

    Of an exception that is not of ``errors`` only the class is kept, because its message may quote data.
    """
    raised = re.search(r"^\s*Message:\s*(\w+)(?::\s*(.*))?", message, re.MULTILINE)
    if raised:
        own = hasattr(errors, raised[1]) and raised[2]
        return f"{raised[1]}: {raised[2]}"[:MAX_ERROR] if own else raised[1]
    if "Traceback" in message or "Trace:" in message:
        return ""
    reason = re.sub(r"^\[\d+/\d+\] currentAttempt done\. Last Error: ", "", message.strip())
    return reason.partition("\n")[0].strip()[:MAX_ERROR]


def _local_end(error: BaseException | None) -> RunEnd:
    """The stage and the error of a laptop's execution: flytekit names the task in front of the error's text."""
    if error is None:
        return RunEnd()
    named = re.match(r"Error encountered while executing '([\w.]+)':\s*", str(error))
    text = str(error)[named.end() :] if named else str(error)
    stage = named[1].rpartition(".")[2] if named else ""
    return RunEnd(stage=stage, error=first_line(f"Message: {type(error).__name__}: {text}"))


def _failed_leaf(
    remote: FlyteRemote, run: WorkflowExecutionIdentifier, parent: str | None = None
) -> NodeExecution | None:
    """The node that failed: of a branch or a sub-workflow, the node inside it."""
    token = None
    while token != "":
        nodes, token = remote.client.list_node_executions(run, token=token, unique_parent_id=parent)
        for node in nodes:
            if node.closure.phase in UNSUCCESSFUL and node.id.node_id != HANDLER:
                inside = _failed_leaf(remote, run, node.id.node_id) if node.metadata.is_parent_node else None
                return inside or node
    return None

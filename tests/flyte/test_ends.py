"""How an execution ended, read from the answers of a real FlyteAdmin 1.16.8."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flyteidl.admin.execution_pb2 import ExecutionCreateRequest
from flyteidl.admin.node_execution_pb2 import NodeExecution, NodeExecutionList
from flyteidl.admin.task_execution_pb2 import TaskExecution, TaskExecutionList
from flyteidl.core.execution_pb2 import NodeExecution as Node
from flyteidl.core.execution_pb2 import WorkflowExecution
from google.protobuf.json_format import ParseDict

from lake.lake import Lake
from models.registry.kinds import model_chain
from models.retraining.outcome import RunEnd
from tasks.execution.ends import first_line, run_end
from tests.doubles.admin import Admin
from tests.flyte.test_triggers import SMALL
from workflows.retraining import retraining

ANSWERS = Path(__file__).parents[3] / "shared" / "data" / "flyte"
recorded = pytest.mark.skipif(not ANSWERS.is_dir(), reason="the shared test data are not at hand")
INNER = "n2-0-n2-n0-0-n2"
"""The training inside the sub-workflow, as the name of its killed pod says: the recordings end one level above it."""


@pytest.fixture
def run_of(admin: Admin) -> Iterator[Any]:
    """Give the server a recorded execution; returns its name."""

    def put(recording: str) -> str:
        answers = json.loads((ANSWERS / f"{recording}.json").read_text())
        identifier = answers["execution"]["id"]
        name: str = identifier["name"]
        named = (identifier["project"], identifier["domain"], name)
        admin.executions[named] = ExecutionCreateRequest(name=name)
        admin.phases[named] = WorkflowExecution.Phase.Value(answers["execution"]["closure"]["phase"])
        lists = {"": answers["node_executions"], **answers["children"]}
        for parent, nodes in lists.items():
            admin.nodes[name, parent] = list(ParseDict(nodes, NodeExecutionList()).node_executions)
        for node, tasks in answers["task_executions"].items():
            admin.attempts[name, node] = list(ParseDict(tasks, TaskExecutionList()).task_executions)
        return name

    yield put
    admin.nodes.clear()
    admin.attempts.clear()


def add_training(admin: Admin, name: str, *, attempts: int, error: str) -> None:
    """The failed training below the recorded nodes."""
    node = NodeExecution()
    node.id.node_id = INNER
    node.id.execution_id.name = name
    node.closure.phase = Node.FAILED
    node.closure.error.message = error
    admin.nodes[name, "n2-0-n2-n0"] = [node]
    tries = [TaskExecution() for _ in range(attempts)]
    for number, attempt in enumerate(tries):
        attempt.id.retry_attempt = number
        attempt.id.task_id.name = "tasks.training.train_adapter"
    admin.attempts[name, INNER] = tries


@recorded
def test_a_failed_run_names_the_task_inside_the_sub_workflow_its_attempts_and_the_whole_first_line(
    admin: Admin, run_of: Any
) -> None:
    name = run_of("failed")
    message = json.loads((ANSWERS / "failed.json").read_text())["execution"]["closure"]["error"]["message"]
    add_training(admin, name, attempts=4, error=message)
    assert run_end(name) == RunEnd(
        outcome="failed",
        stage="train_adapter",
        attempts=4,
        error="SYSTEM::Pod failed. No message received from kubernetes.",
    )


@recorded
def test_an_aborted_run_names_the_node_that_was_running(run_of: Any) -> None:
    name = run_of("aborted")
    assert run_end(name) == RunEnd(outcome="aborted", stage="n2-0-n2-n0", error="Workflow aborted.")


@recorded
@pytest.mark.parametrize("recording", ["succeeded", "nothing-new"])
def test_a_run_that_succeeded_has_no_failed_stage(run_of: Any, recording: str) -> None:
    assert run_end(run_of(recording)) == RunEnd(outcome="succeeded")


@recorded
def test_a_running_or_unknown_run_has_no_end(admin: Admin, run_of: Any) -> None:
    name = run_of("failed")
    admin.phases["agents", "production", name] = WorkflowExecution.FAILING
    assert run_end(name) is None
    assert run_end("never-started") is None


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("[3/3] currentAttempt done. Last Error: USER::Trace:\n\n  Traceback ...\n\nMessage:\n\n    QualityTooLow: "
         "quality 71.0 is below 80\nmore", "QualityTooLow: quality 71.0 is below 80"),
        ("Trace:\n\n  Traceback ...\n\nMessage:\n\n    ValueError: what a user wrote", "ValueError"),
        ("Trace:\n\n  Traceback ... what a user wrote", ""),
        ("[1/1] currentAttempt done. Last Error: SYSTEM::OOMKilled\r\n[pod] the log", "SYSTEM::OOMKilled"),
        ("", ""),
    ],
)  # fmt: skip
def test_an_error_is_recorded_in_one_line_without_users_text(message: str, line: str) -> None:
    assert first_line(message) == line


def test_a_retraining_that_fails_on_a_laptop_records_the_task_and_the_error(task_lake: Lake) -> None:
    with pytest.raises(Exception, match="refresh_features"):
        retraining(profile=SMALL)
    [failed] = task_lake.ledger.entries(model_chain("agents"), kind="retraining_failed")
    assert failed.payload["stage"] == "refresh_features"
    assert failed.payload["error"] == "DataError: processed.agent_interactions is empty; ingest interactions first"

"""A launch plan that a task starts on a cluster: by name, in the task's own version, once."""

from dataclasses import replace

import msgpack
import pytest
from flyteidl.core.execution_pb2 import WorkflowExecution

from errors import PeerError, UserError
from launchplans.registry import launch_plans
from tasks.execution.start import ConcurrencyLimitReached, Phase, phase, start
from tests.doubles.admin import Admin, unused_endpoint
from tests.flyte.conftest import in_a_task
from tests.world.world import PROFILE

RETRAINING = next(
    plan.name
    for plan in launch_plans().values()
    if plan.workflow.name == "workflows.retraining.retraining" and not plan.fixed_inputs.literals
)


def test_repeated_starts_of_one_name_start_one_execution(admin: Admin) -> None:
    first = start(RETRAINING, {}, name="Agents, week 44")
    again = start(RETRAINING, {}, name="Agents, week 44")
    assert first.name.startswith("agents-week-44-")
    assert (first.already, again) == (False, replace(first, already=True))
    assert first.place == (
        f"http://{admin.endpoint}/console/projects/agents/domains/production/executions/{first.name}"
    )
    assert list(admin.executions) == [("agents", "production", first.name)]


def test_the_execution_has_the_version_of_the_task_that_starts_it(admin: Admin) -> None:
    started = start(RETRAINING, {}, name="agents-1")
    sent = admin.executions["agents", "production", started.name]
    assert (sent.spec.launch_plan.name, sent.spec.launch_plan.version) == (RETRAINING, "v1")
    with in_a_task("v2"), pytest.raises(UserError, match="version v2 of agents/production has no launch plan"):
        start(RETRAINING, {}, name="agents-2")
    assert len(admin.executions) == 1


def test_inputs_have_the_types_of_the_launch_plan(admin: Admin) -> None:
    start(RETRAINING, {"profile": PROFILE, "source": "agents"}, name="agents-1")
    literals = admin.executions["agents", "production", "agents-1"].inputs.literals
    assert set(literals) == {"profile", "source"}
    assert literals["source"].scalar.primitive.string_value == "agents"
    sent = msgpack.unpackb(literals["profile"].scalar.binary.value)
    assert (sent["name"], sent["learning_rate"]) == (PROFILE.name, PROFILE.learning_rate)


def test_an_execution_that_the_concurrency_policy_refuses_does_not_count_as_started(
    admin: Admin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admin, "limits", True)
    start(RETRAINING, {}, name="agents-1")
    with pytest.raises(ConcurrencyLimitReached, match="'retraining' has as many runs as its concurrency policy allows"):
        start(RETRAINING, {}, name="agents-2")
    assert start(RETRAINING, {}, name="agents-1").already
    admin.phases["agents", "production", "agents-1"] = WorkflowExecution.SUCCEEDED
    assert not start(RETRAINING, {}, name="agents-2").already


def test_an_input_that_the_launch_plan_does_not_take_is_refused(admin: Admin) -> None:
    with pytest.raises(UserError, match="not colour"):
        start(RETRAINING, {"colour": "green"}, name="agents-1")
    assert admin.executions == {}


def test_the_phase_of_an_execution_is_found_by_its_name(admin: Admin) -> None:
    assert phase("agents-1") is Phase.UNKNOWN
    start(RETRAINING, {}, name="agents-1")
    phases = {
        WorkflowExecution.QUEUED: Phase.RUNNING,
        WorkflowExecution.RUNNING: Phase.RUNNING,
        WorkflowExecution.FAILING: Phase.RUNNING,
        WorkflowExecution.SUCCEEDED: Phase.SUCCEEDED,
        WorkflowExecution.FAILED: Phase.FAILED,
        WorkflowExecution.TIMED_OUT: Phase.FAILED,
        WorkflowExecution.ABORTED: Phase.ABORTED,
    }
    for reported, expected in phases.items():
        admin.phases["agents", "production", "agents-1"] = reported
        assert phase("agents-1") is expected


def test_an_unavailable_server_is_an_error_that_a_retry_may_solve(
    admin: Admin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLYTE_PLATFORM_URL", unused_endpoint())
    with pytest.raises(PeerError, match="does not answer"):
        start(RETRAINING, {}, name="agents-1")

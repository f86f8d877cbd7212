"""A FlyteAdmin for tests: the real gRPC service on a loopback socket, which stores what it receives.

It answers a second creation like FlyteAdmin: ALREADY_EXISTS for the same structure, INVALID_ARGUMENT for
another one. A new launch plan is inactive, and one version of a name is active at a time.
"""

import socket
import threading
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from flyteidl.admin import (
    execution_pb2,
    launch_plan_pb2,
    node_execution_pb2,
    project_pb2,
    task_execution_pb2,
    task_pb2,
    workflow_pb2,
)
from flyteidl.core import execution_pb2 as phases
from flyteidl.service.admin_pb2_grpc import AdminServiceServicer, add_AdminServiceServicer_to_server

Key = tuple[str, ...]
LISTED_ERROR = 100
"""Characters of an error that lists show."""


@dataclass
class Admin(AdminServiceServicer):
    """All entities received, by identifier; ``writes`` has their order."""

    projects: dict[str, list[str]] = field(default_factory=lambda: {"agents": ["development", "production"]})
    tasks: dict[Key, Any] = field(default_factory=dict)
    workflows: dict[Key, Any] = field(default_factory=dict)
    launch_plans: dict[Key, Any] = field(default_factory=dict)
    active: set[Key] = field(default_factory=set)
    executions: dict[Key, Any] = field(default_factory=dict)
    phases: dict[Key, int] = field(default_factory=dict)
    nodes: dict[tuple[str, str], list[Any]] = field(default_factory=dict)
    """Node executions by the execution's name and the parent node's (empty: the execution's own)."""
    attempts: dict[tuple[str, str], list[Any]] = field(default_factory=dict)
    """Task executions by the execution's name and the node's."""
    writes: list[str] = field(default_factory=list)
    limits: bool = False
    """Refuse a run if as many run as the launch plan allows: with ALREADY_EXISTS, as FlyteAdmin does."""
    fail_at: int = -1
    """The number of writes after which it is unavailable, as in an outage; -1: none."""
    endpoint: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def ListProjects(self, request: Any, context: grpc.ServicerContext) -> Any:
        """One project per page, so that clients have to read several pages."""
        at = int(request.token or 0)
        names = list(self.projects)
        domains = [project_pb2.Domain(id=name, name=name) for name in self.projects[names[at]]]
        token = str(at + 1) if at + 1 < len(names) else ""
        return project_pb2.Projects(projects=[project_pb2.Project(id=names[at], domains=domains)], token=token)

    def CreateTask(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._create(self.tasks, request, context, "task")
        return task_pb2.TaskCreateResponse()

    def CreateWorkflow(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._create(self.workflows, request, context, "workflow")
        return workflow_pb2.WorkflowCreateResponse()

    def CreateLaunchPlan(self, request: Any, context: grpc.ServicerContext) -> Any:
        if key(request.spec.workflow_id) not in self.workflows:
            context.abort(grpc.StatusCode.NOT_FOUND, f"missing workflow {request.spec.workflow_id.name}")
        self._create(self.launch_plans, request, context, "launch plan")
        return launch_plan_pb2.LaunchPlanCreateResponse()

    def GetTask(self, request: Any, context: grpc.ServicerContext) -> Any:
        stored = self._get(self.tasks, request.id, context)
        reply = task_pb2.Task(id=request.id)
        reply.closure.compiled_task.template.CopyFrom(stored.spec.template)
        return reply

    def GetWorkflow(self, request: Any, context: grpc.ServicerContext) -> Any:
        stored = self._get(self.workflows, request.id, context)
        reply = workflow_pb2.Workflow(id=request.id)
        reply.closure.compiled_workflow.primary.template.CopyFrom(stored.spec.template)
        return reply

    def GetLaunchPlan(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._get(self.launch_plans, request.id, context)
        return self._plan(key(request.id))

    def ListActiveLaunchPlans(self, request: Any, context: grpc.ServicerContext) -> Any:
        """One launch plan per page."""
        active = sorted(k for k in self.active if k[:2] == (request.project, request.domain))
        at = int(request.token or 0)
        token = str(at + 1) if at + 1 < len(active) else ""
        return launch_plan_pb2.LaunchPlanList(launch_plans=[self._plan(k) for k in active[at : at + 1]], token=token)

    def UpdateLaunchPlan(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._get(self.launch_plans, request.id, context)
        self._write(context, f"{launch_plan_pb2.LaunchPlanState.Name(request.state)} {request.id.name}")
        updated = key(request.id)
        self.active -= {k for k in self.active if k[:3] == updated[:3]}
        if request.state == launch_plan_pb2.ACTIVE:
            self.active.add(updated)
        return launch_plan_pb2.LaunchPlanUpdateResponse()

    def CreateExecution(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._get(self.launch_plans, request.spec.launch_plan, context)
        named = (request.project, request.domain, request.name)
        with self.lock:
            if named in self.executions:
                context.abort(grpc.StatusCode.ALREADY_EXISTS, f"execution {request.name} already exists")
            if self.limits and self._full(request.spec.launch_plan):
                context.abort(grpc.StatusCode.ALREADY_EXISTS, "concurrency limit reached, skipping execution")
            self.executions[named] = request
        self.phases[named] = phases.WorkflowExecution.QUEUED
        return execution_pb2.ExecutionCreateResponse(id=_execution(named))

    def _full(self, plan: Any) -> bool:
        """Whether as many executions of the plan run as its policy allows."""
        most = self.launch_plans[key(plan)].spec.concurrency_policy.max
        ended = (phases.WorkflowExecution.SUCCEEDED, phases.WorkflowExecution.FAILED, phases.WorkflowExecution.ABORTED)
        running = [key for key, execution in self.executions.items() if execution.spec.launch_plan.name == plan.name]
        return bool(most) and sum(self.phases[named] not in ended for named in running) >= most

    def GetExecution(self, request: Any, context: grpc.ServicerContext) -> Any:
        named = (request.id.project, request.id.domain, request.id.name)
        if named not in self.executions:
            context.abort(grpc.StatusCode.NOT_FOUND, f"execution {named} not found")
        spec, phase = self.executions[named].spec, self.phases[named]
        closure = execution_pb2.ExecutionClosure(phase=phase)
        return execution_pb2.Execution(id=_execution(named), spec=spec, closure=closure)

    def ListNodeExecutions(self, request: Any, context: grpc.ServicerContext) -> Any:
        """One node per page; of an error only the first characters, as FlyteAdmin lists it."""
        nodes = self.nodes.get((request.workflow_execution_id.name, request.unique_parent_id), [])
        at = int(request.token or 0)
        page = node_execution_pb2.NodeExecutionList(node_executions=nodes[at : at + 1])
        for node in page.node_executions:
            node.closure.error.message = node.closure.error.message[:LISTED_ERROR]
        page.token = str(at + 1) if at + 1 < len(nodes) else ""
        return page

    def GetNodeExecution(self, request: Any, context: grpc.ServicerContext) -> Any:
        of_run = (nodes for (run, _), nodes in self.nodes.items() if run == request.id.execution_id.name)
        return next(node for nodes in of_run for node in nodes if node.id.node_id == request.id.node_id)

    def ListTaskExecutions(self, request: Any, context: grpc.ServicerContext) -> Any:
        node = request.node_execution_id
        found = self.attempts.get((node.execution_id.name, node.node_id), [])
        return task_execution_pb2.TaskExecutionList(task_executions=found)

    def _create(self, into: dict[Key, Any], request: Any, context: grpc.ServicerContext, kind: str) -> None:
        if request.id.domain not in self.projects.get(request.id.project, []):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"failed to validate project {request.id.project}")
        with self.lock:
            existing = into.get(key(request.id))
            if existing is None:
                self._write(context, f"{kind} {request.id.name}")
                into[key(request.id)] = request
            elif existing == request:
                context.abort(grpc.StatusCode.ALREADY_EXISTS, f"{kind} with identical structure already exists")
            else:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"{kind} with different structure already exists")

    def _write(self, context: grpc.ServicerContext, what: str) -> None:
        if 0 <= self.fail_at <= len(self.writes):
            context.abort(grpc.StatusCode.UNAVAILABLE, "the database is away")
        self.writes.append(what)

    def _get(self, stored: dict[Key, Any], identifier: Any, context: grpc.ServicerContext) -> Any:
        if key(identifier) not in stored:
            context.abort(grpc.StatusCode.NOT_FOUND, f"missing entity {identifier.name}")
        return stored[key(identifier)]

    def _plan(self, named: Key) -> Any:
        request = self.launch_plans[named]
        plan = launch_plan_pb2.LaunchPlan(id=request.id, spec=request.spec)
        plan.closure.expected_inputs.CopyFrom(request.spec.default_inputs)
        plan.closure.state = launch_plan_pb2.ACTIVE if named in self.active else launch_plan_pb2.INACTIVE
        return plan


def key(identifier: Any) -> Key:
    """Project, domain, name, version."""
    return identifier.project, identifier.domain, identifier.name, identifier.version


def _execution(named: Key) -> Any:
    from flyteidl.core import identifier_pb2

    return identifier_pb2.WorkflowExecutionIdentifier(project=named[0], domain=named[1], name=named[2])


@contextmanager
def serving(admin: Admin) -> Iterator[Admin]:
    """Serve ``admin`` on a socket of its own."""
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
    add_AdminServiceServicer_to_server(admin, server)
    admin.endpoint = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield admin
    finally:
        server.stop(grace=None).wait()


def unused_endpoint() -> str:
    """An address on which nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"

"""Register a version on FlyteAdmin: compare, refuse differences, write what is missing, then switch the schedules.

A version never changes. Entities that are registered with the same marks are left alone, so an interrupted registration
is completed by running it again; entities with other marks are refused before anything is written. Schedules are
switched last: until every entity is registered, the version before stays active.
"""

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from flyteidl.admin import common_pb2, launch_plan_pb2, project_pb2, task_pb2, workflow_pb2
from flytekit.clients.raw import RawSynchronousFlyteClient
from flytekit.exceptions.user import FlyteEntityAlreadyExistsException, FlyteEntityNotExistException
from pydantic import SecretStr

from errors import UnknownName, UserError
from launchplans.registration.bundle import CODE, SPEC, Entity, Kind, Version, has_schedule, marks_of
from launchplans.schedule import unmet
from settings import Settings

PAGE = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class RegistrationPlan:
    """The changes that a registration makes."""

    missing: Sequence[Entity]
    registered: Sequence[Entity]
    activate: Sequence[Any]
    """Identifiers of scheduled launch plans of this version that are not active. Activating one deactivates that of the
    other version."""
    retire: Sequence[Any]
    """Identifiers of active scheduled launch plans that this version does not have, or that are excluded."""
    idle: Mapping[str, str]
    """Schedules that are registered and not activated because nothing that they need is set, with the reason."""

    @property
    def nothing(self) -> bool:
        """Whether there is nothing to change."""
        return not (self.missing or self.activate or self.retire)


@dataclass(frozen=True, kw_only=True, slots=True)
class FlyteAdmin:
    """FlyteAdmin for registration, by flytekit's raw client: flytekit's models drop the tags with the marks."""

    client: RawSynchronousFlyteClient

    def plan(
        self,
        version: Version,
        entities: Sequence[Entity],
        inactive: Collection[str] = (),
        active: Collection[str] = (),
    ) -> RegistrationPlan:
        """Compare the version with the server; ``inactive`` names schedules to exclude, ``active`` those to activate
        even if no setting names what they need. Writes nothing.

        Raises:
            UnknownName: no such project, domain or schedule.
            UserError: entities are registered under this version with other content.
        """
        self._check_domain(version)
        found = [(entity, self._marks(entity)) for entity in entities]
        _refuse_other_content(version, found)
        where = {"project": version.project, "domain": version.domain}
        request = launch_plan_pb2.ActiveLaunchPlanListRequest(**where, limit=PAGE)
        pages = _pages(self.client.list_active_launch_plans_paginated, request)
        running = {plan.id.name: plan for page in pages for plan in page.launch_plans}
        ours = [plan for plan in running.values() if CODE in marks_of(Kind.LAUNCH_PLAN, plan) and has_schedule(plan)]
        scheduled = {entity.name: entity for entity in entities if entity.scheduled}
        if unknown := [name for name in (*inactive, *active) if name not in scheduled]:
            raise UnknownName("scheduled launch plan", unknown[0], scheduled)
        if both := [name for name in inactive if name in active]:
            raise UserError(f"{both[0]} is named by --active and by --inactive")
        chosen = {*inactive, *active}
        idle = {name: reason for name, reason in idle_schedules(version, entities).items() if name not in chosen}
        wanted = {name: entity for name, entity in scheduled.items() if name not in (*inactive, *idle)}
        return RegistrationPlan(
            missing=[entity for entity, marks in found if marks is None],
            registered=[entity for entity, marks in found if marks is not None],
            activate=[
                entity.id
                for name, entity in wanted.items()
                if name not in running or running[name].id.version != version.version
            ],
            idle=idle,
            retire=[plan.id for plan in ours if plan.id.name not in wanted],
        )

    def carry_out(self, plan: RegistrationPlan, report: Callable[[str], None]) -> None:
        """Write what is missing, then switch the schedules; ``report`` is called after each step."""
        for entity in plan.missing:
            self._create(entity)
            report(f"{entity.kind.value:<11}  {entity.name}")
        for identifier in plan.activate:
            self._switch(identifier, launch_plan_pb2.ACTIVE)
            report(f"activated    {identifier.name}")
        for identifier in plan.retire:
            self._switch(identifier, launch_plan_pb2.INACTIVE)
            report(f"deactivated  {identifier.name} of {identifier.version}")

    def _check_domain(self, version: Version) -> None:
        pages = _pages(self.client.list_projects, project_pb2.ProjectListRequest(limit=PAGE))
        domains = {project.id: [domain.id for domain in project.domains] for page in pages for project in page.projects}
        if version.project not in domains:
            raise UnknownName("project", version.project, domains)
        if version.domain not in domains[version.project]:
            raise UnknownName(f"domain of project {version.project}", version.domain, domains[version.project])

    def _marks(self, entity: Entity) -> Mapping[str, str] | None:
        """The marks of the entity that is registered under this identifier; None if there is none."""
        request = common_pb2.ObjectGetRequest(id=entity.id)
        try:
            match entity.kind:
                case Kind.TASK:
                    message = self.client.get_task(request).closure.compiled_task
                case Kind.WORKFLOW:
                    message = self.client.get_workflow(request).closure.compiled_workflow.primary
                case Kind.LAUNCH_PLAN:
                    message = self.client.get_launch_plan(request)
        except FlyteEntityNotExistException:
            return None
        return dict(marks_of(entity.kind, message))

    def _create(self, entity: Entity) -> None:
        # Where it exists, it is the same entity: registered concurrently, or the reply to a first try was lost.
        with suppress(FlyteEntityAlreadyExistsException):
            if entity.kind is Kind.TASK:
                self.client.create_task(task_pb2.TaskCreateRequest(id=entity.id, spec=entity.message))
            elif entity.kind is Kind.WORKFLOW:
                self.client.create_workflow(workflow_pb2.WorkflowCreateRequest(id=entity.id, spec=entity.message))
            else:
                spec = entity.message.spec
                self.client.create_launch_plan(launch_plan_pb2.LaunchPlanCreateRequest(id=entity.id, spec=spec))

    def _switch(self, identifier: Any, state: int) -> None:
        self.client.update_launch_plan(launch_plan_pb2.LaunchPlanUpdateRequest(id=identifier, state=state))


def idle_schedules(version: Version, entities: Sequence[Entity]) -> dict[str, str]:
    """By name, why a schedule has nothing to run on with the version's variables.

    Secrets are not among those; one counts as set where it is set in this process.
    """
    secrets = [f"FUELLINE_{name.upper()}" for name, kind in Settings.__annotations__.items() if kind is SecretStr]
    variables = {**version.env, **{name: os.environ.get(name) for name in secrets}}
    provided = {name for name, value in variables.items() if value}
    reasons = {e.name: unmet(e.message.spec.annotations.values, provided) for e in entities if e.scheduled}
    return {name: reason for name, reason in reasons.items() if reason}


def count(entities: Sequence[Entity]) -> str:
    """The number of each kind in words: ``20 tasks, 7 workflows, 10 launch plans``."""
    numbers = Counter(entity.kind for entity in entities)
    return ", ".join(f"{numbers[kind]} {kind.value}{'s' * (numbers[kind] != 1)}" for kind in Kind)


def _pages(call: Callable[[Any], Any], request: Any) -> Iterator[Any]:
    while True:
        page = call(request)
        yield page
        if not page.token:
            return
        request.token = page.token


def _refuse_other_content(version: Version, found: Sequence[tuple[Entity, Mapping[str, str] | None]]) -> None:
    differing = [
        f"\n  {entity.kind.value} {entity.name}: {faults}"
        for entity, marks in found
        if marks is not None and (faults := _differences(entity.marks, marks))
    ]
    if differing:
        raise UserError(
            f"version {version.version} is already registered with other content, so nothing was written. "
            f"Register under another version. Differences:{''.join(differing)}"
        )


def _differences(ours: Mapping[str, str], theirs: Mapping[str, str]) -> str:
    if SPEC not in theirs or CODE not in theirs:
        return "registered by something else"
    parts = {SPEC: "its specification", CODE: "the code in its image"}
    return ", ".join(words for mark, words in parts.items() if ours[mark] != theirs[mark])

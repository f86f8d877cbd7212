"""Bring a version onto FlyteAdmin: look first, refuse what differs, write what is missing, then switch the schedules.

A version never changes. What is there under it with the same marks is left alone, so an interrupted registration is
gone on with by running it again; what is there with other marks is refused before anything is written. Schedules are
switched last: until every entity is there, the version before goes on.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flyteidl.admin import common_pb2, launch_plan_pb2, project_pb2, task_pb2, workflow_pb2
from flytekit.clients.raw import RawSynchronousFlyteClient
from flytekit.exceptions.user import FlyteEntityAlreadyExistsException, FlyteEntityNotExistException

from errors import UnknownName, UserError
from launchplans.registration.bundle import CODE, SPEC, Entity, Kind, Version, has_schedule, marks_of

PAGE = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What a registration has to do."""

    missing: Sequence[Entity]
    there: Sequence[Entity]
    activate: Sequence[Any]
    """Identifiers of scheduled launch plans of this version that are not active. Activating one deactivates the other
    version's."""
    retire: Sequence[Any]
    """Identifiers of active scheduled launch plans that are no schedule of this version, or are not wanted here."""

    @property
    def nothing(self) -> bool:
        """Whether the server is as it should be."""
        return not (self.missing or self.activate or self.retire)


@dataclass(frozen=True, kw_only=True, slots=True)
class Server:
    """FlyteAdmin, as far as registration is concerned. Its client is flytekit's, which speaks in messages: flytekit's
    models drop the tags that the marks stand in.
    """

    client: RawSynchronousFlyteClient

    def plan(self, version: Version, entities: Sequence[Entity], inactive: Collection[str] = ()) -> Plan:
        """Compare the version with what the server has; ``inactive`` names schedules not wanted here. Writes nothing.

        Raises:
            UnknownName: there is no such project, domain or schedule.
            UserError: entities are there under this version with other content.
        """
        self._check_place(version)
        found = {(entity.kind, entity.name): self._marks(entity) for entity in entities}
        _refuse_other_content(version, entities, found)
        missing = [entity for entity in entities if found[entity.kind, entity.name] is None]
        active = {plan.id.name: plan for plan in self._active(version)}
        wanted = _wanted(entities, inactive)
        return Plan(
            missing=missing,
            there=[entity for entity in entities if entity not in missing],
            activate=[e.id for e in wanted if e.name not in active or active[e.name].id.version != version.version],
            retire=[plan.id for plan in _ours(active.values()) if plan.id.name not in {e.name for e in wanted}],
        )

    def carry_out(self, plan: Plan, tell: Callable[[str], None]) -> None:
        """Write what is missing, then switch the schedules; ``tell`` hears of each step."""
        for entity in plan.missing:
            self._create(entity)
            tell(f"{entity.kind.value:<11}  {entity.name}")
        for identifier in plan.activate:
            self._switch(identifier, launch_plan_pb2.ACTIVE)
            tell(f"activated    {identifier.name}")
        for identifier in plan.retire:
            self._switch(identifier, launch_plan_pb2.INACTIVE)
            tell(f"deactivated  {identifier.name} of {identifier.version}")

    def _check_place(self, version: Version) -> None:
        domains = {project.id: [domain.id for domain in project.domains] for project in self._projects()}
        if version.project not in domains:
            raise UnknownName("project", version.project, domains)
        if version.domain not in domains[version.project]:
            raise UnknownName(f"domain of project {version.project}", version.domain, domains[version.project])

    def _projects(self) -> Iterator[Any]:
        for page in _pages(self.client.list_projects, project_pb2.ProjectListRequest(limit=PAGE)):
            yield from page.projects

    def _active(self, version: Version) -> Iterator[Any]:
        here = launch_plan_pb2.ActiveLaunchPlanListRequest(project=version.project, domain=version.domain, limit=PAGE)
        for page in _pages(self.client.list_active_launch_plans_paginated, here):
            yield from page.launch_plans

    def _marks(self, entity: Entity) -> Mapping[str, str] | None:
        """The marks of what the server has under this identifier; None where it has nothing."""
        request = common_pb2.ObjectGetRequest(id=entity.id)
        try:
            if entity.kind is Kind.TASK:
                return dict(marks_of(entity.kind, self.client.get_task(request).closure.compiled_task))
            if entity.kind is Kind.WORKFLOW:
                return dict(marks_of(entity.kind, self.client.get_workflow(request).closure.compiled_workflow.primary))
            return dict(marks_of(entity.kind, self.client.get_launch_plan(request)))
        except FlyteEntityNotExistException:
            return None

    def _create(self, entity: Entity) -> None:
        try:
            if entity.kind is Kind.TASK:
                self.client.create_task(task_pb2.TaskCreateRequest(id=entity.id, spec=entity.message))
            elif entity.kind is Kind.WORKFLOW:
                self.client.create_workflow(workflow_pb2.WorkflowCreateRequest(id=entity.id, spec=entity.message))
            else:
                spec = entity.message.spec
                self.client.create_launch_plan(launch_plan_pb2.LaunchPlanCreateRequest(id=entity.id, spec=spec))
        except FlyteEntityAlreadyExistsException:
            pass  # the same one: somebody registers it beside us, or the reply to a first try was lost

    def _switch(self, identifier: Any, state: int) -> None:
        self.client.update_launch_plan(launch_plan_pb2.LaunchPlanUpdateRequest(id=identifier, state=state))


def count(entities: Sequence[Entity]) -> str:
    """How many there are of each kind, for people: ``20 tasks, 7 workflows, 10 launch plans``."""
    numbers = Counter(entity.kind for entity in entities)
    return ", ".join(f"{numbers[kind]} {kind.value}{'s' * (numbers[kind] != 1)}" for kind in Kind)


def _pages(call: Callable[[Any], Any], request: Any) -> Iterator[Any]:
    while True:
        page = call(request)
        yield page
        if not page.token:
            return
        request.token = page.token


def _wanted(entities: Sequence[Entity], inactive: Collection[str]) -> list[Entity]:
    scheduled = {entity.name: entity for entity in entities if entity.scheduled}
    for name in inactive:
        if name not in scheduled:
            raise UnknownName("scheduled launch plan", name, scheduled)
    return [entity for name, entity in scheduled.items() if name not in inactive]


def _ours(active: Any) -> list[Any]:
    return [plan for plan in active if CODE in marks_of(Kind.LAUNCH_PLAN, plan) and has_schedule(plan)]


def _refuse_other_content(
    version: Version,
    entities: Sequence[Entity],
    found: Mapping[tuple[Kind, str], Mapping[str, str] | None],
) -> None:
    other = {}
    for entity in entities:
        marks = found[entity.kind, entity.name]
        if marks is not None and (faults := _differences(entity.marks, marks)):
            other[f"{entity.kind.value} {entity.name}"] = faults
    if other:
        names = "".join(f"\n  {name}: {faults}" for name, faults in other.items())
        raise UserError(
            f"version {version.version} is there already, with other content, so nothing was written. Register under "
            f"another version. What differs:{names}"
        )


def _differences(ours: Mapping[str, str], theirs: Mapping[str, str]) -> str:
    if SPEC not in theirs or CODE not in theirs:
        return "registered by something else"
    said = {SPEC: "its specification", CODE: "the code in its image"}
    return ", ".join(words for mark, words in said.items() if ours[mark] != theirs[mark])

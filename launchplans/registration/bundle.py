"""What one version consists of: every task, workflow and launch plan, serialized once, with a digest of what it is.

Registration and the offline package both write exactly this. The code is in the images and is not sent along, so the
digest of the sources goes where the server keeps it: into the tags of a task or workflow, the annotations of a launch
plan (and so onto the executions that it starts).
"""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from flytekit import FlyteContextManager, LaunchPlan
from flytekit.configuration import Image, ImageConfig, SerializationSettings
from flytekit.models import launch_plan as launch_plan_models
from flytekit.models.admin.workflow import WorkflowSpec
from flytekit.models.task import TaskSpec
from flytekit.tools.translator import get_serializable
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from launchplans.registry import graphs, launch_plans

ROOT = Path(__file__).parents[2]
PACKAGES = ("cli", "features", "lake", "launchplans", "models", "reports", "serving", "tasks", "workflows")
CODE, SPEC = "fuelline-code", "fuelline-spec"
"""The marks of an entity: the digest of the sources, and that of its own specification."""


class Kind(Enum):
    """What is registered, in the order that it is: each stands on the ones before."""

    TASK = "task"
    WORKFLOW = "workflow"
    LAUNCH_PLAN = "launch plan"


@dataclass(frozen=True, kw_only=True, slots=True)
class Version:
    """What is to be registered, and where."""

    project: str
    domain: str
    version: str
    cpu_image: Image
    gpu_image: Image
    env: Mapping[str, str] = field(default_factory=dict)
    """Variables of every task: places, and no secret. They are part of the specification."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Entity:
    """One task, workflow or launch plan as FlyteAdmin takes it."""

    kind: Kind
    message: Any
    """``flyteidl.admin``'s ``TaskSpec``, ``WorkflowSpec`` or ``LaunchPlan``, with its marks."""
    marks: Mapping[str, str]

    @property
    def id(self) -> Any:
        """Its ``flyteidl.core`` identifier."""
        return self.message.id if self.kind is Kind.LAUNCH_PLAN else self.message.template.id

    @property
    def name(self) -> str:
        """Its name within the project."""
        name: str = self.id.name
        return name

    @property
    def scheduled(self) -> bool:
        """Whether a schedule starts it once it is active."""
        return self.kind is Kind.LAUNCH_PLAN and has_schedule(self.message)


def entities(version: Version) -> list[Entity]:
    """Every entity of the version: tasks, then workflows, then launch plans.

    Each workflow gets a launch plan of its own name as well, as ``pyflyte register`` does it: without one the console
    could not start it.
    """
    settings = SerializationSettings(
        project=version.project,
        domain=version.domain,
        version=version.version,
        image_config=ImageConfig(version.cpu_image, [version.cpu_image, version.gpu_image]),
        env=dict(version.env),
    )
    context = FlyteContextManager.current_context()
    own = [LaunchPlan.get_default_launch_plan(context, graph) for graph in graphs().values()]
    serialized: OrderedDict[Any, Any] = OrderedDict()
    for entity in [*graphs().values(), *launch_plans().values(), *own]:
        get_serializable(serialized, settings, entity)
    code = code_digest()
    found = [_entity(model, code) for model in serialized.values() if _kind(model)]
    return sorted(found, key=lambda entity: (list(Kind).index(entity.kind), entity.name))


def has_schedule(plan: Any) -> bool:
    """Whether a ``flyteidl.admin.LaunchPlan`` has a schedule."""
    return bool(plan.spec.entity_metadata.schedule.WhichOneof("ScheduleExpression"))


def marks_of(kind: Kind, message: Any) -> Any:
    """The map in a specification that the server keeps as it is."""
    return message.spec.annotations.values if kind is Kind.LAUNCH_PLAN else message.template.metadata.tags


def code_digest(root: Path = ROOT) -> str:
    """sha256 over the sources that the images are built from, and over what they are built with and how."""
    sources = [path for package in PACKAGES for path in (root / package).rglob("*.py")]
    total = hashlib.sha256()
    built = [root / name for name in ("pyproject.toml", "constraints.txt", "Dockerfile")]
    for path in sorted([*sources, *root.glob("*.py"), *built]):
        content = path.read_bytes()
        total.update(f"{path.relative_to(root).as_posix()}\0{len(content)}\0".encode() + content)
    return total.hexdigest()


def spec_digest(message: Any) -> str:
    """sha256 over the specification, taken of sorted JSON: on the wire, a map's order is left to chance."""
    return hashlib.sha256(json.dumps(MessageToDict(message), sort_keys=True).encode()).hexdigest()


def _kind(model: Any) -> Kind | None:
    """None for nodes and branches, which are parts of a workflow."""
    kinds = {TaskSpec: Kind.TASK, WorkflowSpec: Kind.WORKFLOW, launch_plan_models.LaunchPlan: Kind.LAUNCH_PLAN}
    return kinds.get(type(model))


def _entity(model: Any, code: str) -> Entity:
    kind, message = _kind(model), model.to_flyte_idl()
    assert kind is not None
    _settle(message)
    marks = {CODE: code, SPEC: spec_digest(message)}
    marks_of(kind, message).update(marks)
    return Entity(kind=kind, message=message, marks=marks)


def _settle(message: Message) -> None:
    """Put into order what flytekit takes from a set of Python's: the nodes that a node waits for."""
    for known, value in message.ListFields():
        if known.name == "upstream_node_ids":
            value.sort()
        elif isinstance(value, Message):
            _settle(value)
        elif known.message_type and not known.message_type.GetOptions().map_entry:
            for part in value:
                _settle(part)

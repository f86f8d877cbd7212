"""The entities of one version: every task, workflow and launch plan, serialized once, with a digest of its content.

Registration and the offline package both write exactly these. The code is in the images and is not uploaded, so the
digest of the sources is stored where the server keeps it: in the tags of a task or workflow, and in the annotations of
a launch plan (and so of the executions that it starts).
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

from launchplans.registry import launch_plans, registered_workflows

ROOT = Path(__file__).parents[2]
PACKAGES = ("cli", "features", "lake", "launchplans", "models", "reports", "serving", "tasks", "workflows")
SUFFIXES = (".py", ".html", ".css", ".svg", ".yaml", ".md", ".sql")
"""Of the files in the packages: modules, templates, style sheets and data."""
CODE, SPEC = "fuelline-code", "fuelline-spec"
"""Marks of an entity: the digest of the sources, and the digest of its own specification."""


class Kind(Enum):
    """Kinds of entities in the order of registration: each refers to those before it."""

    TASK = "task"
    WORKFLOW = "workflow"
    LAUNCH_PLAN = "launch plan"


KINDS = {TaskSpec: Kind.TASK, WorkflowSpec: Kind.WORKFLOW, launch_plan_models.LaunchPlan: Kind.LAUNCH_PLAN}
"""By the class of the serialized model. Nodes and branches, which are parts of a workflow, have none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Version:
    """What is registered, and where."""

    project: str
    domain: str
    version: str
    cpu_image: Image
    gpu_image: Image
    env: Mapping[str, str] = field(default_factory=dict)
    """Environment variables of every task: no secrets. They are part of the specification."""


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
        return str(self.id.name)

    @property
    def scheduled(self) -> bool:
        """Whether a schedule starts it once it is active."""
        return self.kind is Kind.LAUNCH_PLAN and has_schedule(self.message)


def entities(version: Version) -> list[Entity]:
    """Every entity of the version: tasks, then workflows, then launch plans.

    Each workflow also gets a launch plan of its own name, as ``pyflyte register`` does: the console cannot start it
    without one.
    """
    settings = SerializationSettings(
        project=version.project,
        domain=version.domain,
        version=version.version,
        image_config=ImageConfig(version.cpu_image, [version.cpu_image, version.gpu_image]),
        env=dict(version.env),
    )
    context, graphs = FlyteContextManager.current_context(), registered_workflows().values()
    own = [LaunchPlan.get_default_launch_plan(context, graph) for graph in graphs]
    serialized: OrderedDict[Any, Any] = OrderedDict()
    for entity in [*graphs, *launch_plans().values(), *own]:
        get_serializable(serialized, settings, entity)
    code = code_digest()
    found = [
        _entity(KINDS[type(model)], model.to_flyte_idl(), code) for model in serialized.values() if type(model) in KINDS
    ]
    return sorted(found, key=lambda entity: (list(Kind).index(entity.kind), entity.name))


def has_schedule(plan: Any) -> bool:
    """Whether a ``flyteidl.admin.LaunchPlan`` has a schedule."""
    return bool(plan.spec.entity_metadata.schedule.WhichOneof("ScheduleExpression"))


def marks_of(kind: Kind, message: Any) -> Any:
    """The map in a specification that the server keeps unchanged."""
    return message.spec.annotations.values if kind is Kind.LAUNCH_PLAN else message.template.metadata.tags


def code_digest(root: Path = ROOT) -> str:
    """sha256 over the sources in the images, and over the files that decide how the images are built."""
    sources = [path for package in PACKAGES for path in (root / package).rglob("*") if path.suffix in SUFFIXES]
    total = hashlib.sha256()
    built = [root / name for name in ("pyproject.toml", "constraints.txt", "Dockerfile")]
    for path in sorted([*sources, *root.glob("*.py"), *built]):
        content = path.read_bytes()
        total.update(f"{path.relative_to(root).as_posix()}\0{len(content)}\0".encode() + content)
    return total.hexdigest()


def _entity(kind: Kind, message: Any, code: str) -> Entity:
    _sort_upstream(message)
    plain = json.dumps(MessageToDict(message), sort_keys=True)  # because the order of a protobuf map is undefined
    marks = {CODE: code, SPEC: hashlib.sha256(plain.encode()).hexdigest()}
    marks_of(kind, message).update(marks)
    return Entity(kind=kind, message=message, marks=marks)


def _sort_upstream(message: Message) -> None:
    """Sort the upstream nodes of every node, which flytekit takes from an unordered set."""
    for known, value in message.ListFields():
        if known.name == "upstream_node_ids":
            value.sort()
        elif isinstance(value, Message):
            _sort_upstream(value)
        elif known.message_type and not known.message_type.GetOptions().map_entry:
            for part in value:
                _sort_upstream(part)

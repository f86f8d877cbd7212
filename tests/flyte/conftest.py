"""Shared by the Flyte tests: every registered entity in the form in which a cluster receives it."""

import json
from collections import OrderedDict
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from flytekit import FlyteContextManager
from flytekit.configuration import Image, ImageConfig, SerializationSettings
from flytekit.core.base_task import PythonTask
from flytekit.core.launch_plan import LaunchPlan
from flytekit.models.core.identifier import Identifier, ResourceType, WorkflowExecutionIdentifier
from flytekit.tools.translator import get_serializable
from google.protobuf.json_format import MessageToDict

from cli.main import main
from lake.lake import Lake, open_lake
from settings import settings as process_settings
from tests.doubles.admin import Admin, serving
from tests.world.tiny import build_tiny

IMAGES = [Image(name, f"registry.example/fuelline-{name}", "v1") for name in ("cpu", "gpu")]
SERIALIZATION = SerializationSettings(
    project="fuelline",
    domain="development",
    version="v1",
    image_config=ImageConfig(default_image=IMAGES[0], images=IMAGES),
)


def serialized(entity: Any) -> dict[str, Any]:
    """An entity as plain JSON."""
    message = get_serializable(OrderedDict(), SERIALIZATION, entity).to_flyte_idl()
    plain: dict[str, Any] = json.loads(json.dumps(MessageToDict(message), sort_keys=True))
    return plain


def tasks_of(workflow: Any) -> dict[str, dict[str, Any]]:
    """The templates of every task that a workflow reaches, by function name."""
    reached: OrderedDict[Any, Any] = OrderedDict()
    get_serializable(reached, SERIALIZATION, workflow)
    found = {entity.name.split(".")[-1]: reached[entity] for entity in reached if isinstance(entity, PythonTask)}
    return {name: MessageToDict(model.to_flyte_idl())["template"] for name, model in found.items()}


@pytest.fixture(scope="session")
def retraining_tasks() -> dict[str, dict[str, Any]]:
    from workflows.retraining import retraining

    return tasks_of(retraining)


def launch_plans() -> Iterator[LaunchPlan]:
    """Every launch plan that a module of ``launchplans`` declares."""
    import importlib
    import pkgutil

    import launchplans

    for found in pkgutil.iter_modules(launchplans.__path__):
        module = importlib.import_module(f"launchplans.{found.name}")
        yield from (value for value in vars(module).values() if isinstance(value, LaunchPlan))


@pytest.fixture
def task_lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lake]:
    """A fresh lake with a tiny base model; tasks that run in this process open it."""
    monkeypatch.setenv("FUELLINE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FUELLINE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("FUELLINE_BASE_MODEL", str(build_tiny(tmp_path / "base")))
    monkeypatch.setenv("FLYTE_LOCAL_CACHE_ENABLED", "false")
    process_settings.cache_clear()
    yield open_lake()
    process_settings.cache_clear()


@pytest.fixture(scope="module")
def registered() -> Iterator[Admin]:
    """A cluster on which version v1 is registered."""
    with serving(Admin()) as server:
        images = [f"--{name}-image=registry.example/fuelline-{name}:v1" for name in ("cpu", "gpu")]
        where = ["--project=agents", "--domain=production", "--endpoint", server.endpoint, "--insecure"]
        done = CliRunner().invoke(main, ["register", "--version=v1", *images, *where])
        assert done.exit_code == 0, done.output
        yield server


@pytest.fixture
def admin(registered: Admin, monkeypatch: pytest.MonkeyPatch) -> Iterator[Admin]:
    """The cluster, with this process in the context of one of its tasks of v1."""
    monkeypatch.setenv("FLYTE_PLATFORM_URL", registered.endpoint)
    monkeypatch.setenv("FLYTE_PLATFORM_INSECURE", "true")
    registered.executions.clear()
    with in_a_task("v1"):
        yield registered


def in_a_task(version: str) -> Any:
    """This process in the context of a task of a registered version."""
    context = FlyteContextManager.current_context()
    builder = context.user_space_params.builder()
    builder.execution_id = WorkflowExecutionIdentifier("agents", "production", "sensor-1")
    builder.task_id = Identifier(ResourceType.TASK, "agents", "production", "tasks.sensors.decide", version)
    builder.execution_date = datetime(2026, 11, 1, tzinfo=UTC)
    state = context.new_execution_state().with_params(user_space_params=builder.build())
    return FlyteContextManager.with_context(context.with_execution_state(state))

"""What a cluster receives: graphs that compile, caches, retries, timeouts, accelerators and every launch plan."""

import importlib
import json
import os
import pkgutil
from pathlib import Path
from typing import Any

import pytest
from flytekit.core.launch_plan import LaunchPlan
from flytekit.core.workflow import PythonFunctionWorkflow

import workflows
from tests.flyte.conftest import launch_plans, serialized, tasks_of

SNAPSHOTS = Path(__file__).parent / "snapshots"
CACHED = {"build_training_set", "train_adapter", "evaluate_candidate"}
ON_ONE_GPU = {"evaluate_candidate"}

GRAPHS = [
    value
    for found in pkgutil.iter_modules(workflows.__path__)
    for value in vars(importlib.import_module(f"workflows.{found.name}")).values()
    if isinstance(value, PythonFunctionWorkflow)
]
PLANS = list(launch_plans())


@pytest.mark.parametrize("graph", dict.fromkeys(GRAPHS), ids=lambda graph: graph.name)
def test_every_workflow_compiles_and_serializes(graph: PythonFunctionWorkflow) -> None:
    graph.compile()
    assert serialized(graph)["template"]["nodes"]


def test_only_pure_tasks_are_cached_and_one_at_a_time(retraining_tasks: dict[str, dict[str, Any]]) -> None:
    discoverable = {name for name, task in retraining_tasks.items() if task["metadata"].get("discoverable")}
    assert discoverable == CACHED
    for name in CACHED:
        assert retraining_tasks[name]["metadata"]["cacheSerializable"]


def test_a_cache_version_is_the_digest_of_the_code_that_decides_the_result(
    retraining_tasks: dict[str, dict[str, Any]],
) -> None:
    versions = {name: retraining_tasks[name]["metadata"]["discoveryVersion"] for name in CACHED}
    assert len(set(versions.values())) == len(CACHED)
    assert all(len(version) == 64 for version in versions.values())


def test_every_task_is_retried_and_has_a_timeout(retraining_tasks: dict[str, dict[str, Any]]) -> None:
    for name, task in retraining_tasks.items():
        assert task["metadata"]["retries"]["retries"] == 3, name
        assert task["metadata"]["timeout"] != "0s", name


def test_training_requests_both_a100s_of_a_node_and_evaluation_one(
    retraining_tasks: dict[str, dict[str, Any]],
) -> None:
    def gpus(name: str) -> str:
        requests = retraining_tasks[name]["container"]["resources"]["requests"]
        return next(r["value"] for r in requests if r["name"] == "GPU")

    assert gpus("train_adapter") == "2"
    assert {gpus(name) for name in ON_ONE_GPU} == {"1"}
    for name in ON_ONE_GPU | {"train_adapter"}:
        assert retraining_tasks[name]["extendedResources"]["gpuAccelerator"]["device"] == "nvidia-tesla-a100"


def test_gpu_tasks_run_on_the_gpu_image_and_the_others_on_the_cpu_image(
    retraining_tasks: dict[str, dict[str, Any]],
) -> None:
    for name, task in retraining_tasks.items():
        kind = "gpu" if name in ON_ONE_GPU | {"train_adapter"} else "cpu"
        assert task["container"]["image"] == f"registry.example/fuelline-{kind}:v1", name


def test_open_rollouts_are_stepped_in_parallel_and_only_a_shadow_needs_a_gpu() -> None:
    from workflows.rollout import rollout_step

    steps = {
        part: task for name, task in tasks_of(rollout_step).items() for part in ("shadow", "canary") if part in name
    }
    images = {part: step["container"]["image"] for part, step in steps.items()}
    assert images == {"shadow": "registry.example/fuelline-gpu:v1", "canary": "registry.example/fuelline-cpu:v1"}
    assert steps["shadow"]["extendedResources"]["gpuAccelerator"]["device"] == "nvidia-tesla-a100"
    assert not any(step["metadata"].get("discoverable") for step in steps.values())


def test_a_failure_is_recorded_by_the_failure_node() -> None:
    from workflows.retraining import retraining

    handler = serialized(retraining)["template"]["failureNode"]
    assert handler["taskNode"]["referenceId"]["name"] == "tasks.failure.record_failed_retraining"


def test_stages_for_people_have_a_deck(retraining_tasks: dict[str, dict[str, Any]]) -> None:
    shown = {name for name, task in retraining_tasks.items() if task["metadata"].get("generatesDeck")}
    assert {"check_quality", "build_training_set", "train_adapter", "evaluate_candidate"} <= shown


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.name)
def test_a_launch_plan_equals_its_snapshot(plan: LaunchPlan) -> None:
    """Run with ``UPDATE_SNAPSHOTS=1`` after an intended change."""
    plain = serialized(plan)
    text = json.dumps({"id": plain["id"], "spec": _without_types(plain["spec"])}, indent=1, sort_keys=True) + "\n"
    snapshot = SNAPSHOTS / f"{plan.name}.json"
    if os.environ.get("UPDATE_SNAPSHOTS"):
        snapshot.parent.mkdir(exist_ok=True)
        snapshot.write_text(text)
    assert snapshot.read_text() == text


def _without_types(plain: Any) -> Any:
    """The plan without the schemas of its inputs' types, whose order is not fixed, and with dataclasses unpacked."""
    import base64

    import msgpack

    if isinstance(plain, dict):
        if "binary" in plain:
            return msgpack.unpackb(base64.b64decode(plain["binary"]["value"]))
        return {name: _without_types(value) for name, value in plain.items() if name != "type"}
    return [_without_types(value) for value in plain] if isinstance(plain, list) else plain


def test_every_snapshot_has_a_launch_plan() -> None:
    assert {path.stem for path in SNAPSHOTS.glob("*.json")} == {plan.name for plan in PLANS}

"""Each task's pod may open the connections that its code opens, and no other that is guarded.

What a task connects to is derived from the source (``tests.calls``); what its pod may connect to, from the pod template
that the task names, its account, and the network policies.
"""

import importlib
import pkgutil
from typing import Any

import pytest
import yaml
from flytekit import PythonFunctionTask

import tasks
from tasks.environments import EVENT_PODS, OUTSIDE_PODS, ROLLOUT_PODS
from tests.calls import module, reached
from tests.deployed import (
    DEPLOY,
    STORES,
    TASKS,
    Pod,
    containers,
    of,
    pod_of,
    reaches,
    task_pod,
    task_templates,
    templates,
    title,
)

CLIENTS = {
    "lake.store.open.open_store": "minio",
    "lake.tables.catalog.open_catalog": "postgres",
    "redis.Redis.from_url": "redis",
    "features.online.feast_repo.open_feature_store": "redis",
    "flytekit.remote.FlyteRemote": "flyteadmin",
    "serving.replicas.vllm.Replica": "vllm",
    "pika.BlockingConnection": "rabbitmq",
    "lake.sources.http_client.HttpClient": "outside",
    "reports.weekly.slack.post": "outside",
}
"""What opens a connection, and to which service."""
CHECKS = frozenset({"lake.health.CHECKS"})
"""A task connects to what it names there (``task_lake("online")``), and not to all of it."""
SERVICES = {
    "minio": (Pod(namespace=STORES, labels={"app": "minio"}), 9000),
    "postgres": (Pod(namespace=STORES, labels={"app": "postgres"}), 5432),
    "redis": (Pod(namespace=STORES, labels={"app": "redis"}), 6379),
    "flyteadmin": (Pod(namespace=STORES, labels={"app.kubernetes.io/name": "flyte-binary"}), 8089),
    "rabbitmq": (Pod(namespace=STORES, labels={"app": "rabbitmq"}), 5672),
    "vllm": (pod_of("StatefulSet/vllm"), 8001),
    "outside": (Pod(namespace="monitoring"), 9090),
}
STORE_SETS = [title(manifest) for manifest in of("StatefulSet") if manifest["metadata"]["namespace"] == STORES]
GUARDED = {"rabbitmq", "vllm", "outside"}
"""Only tasks that need these may reach them."""


def declared() -> dict[str, PythonFunctionTask]:
    modules = [importlib.import_module(f"tasks.{found.name}") for found in pkgutil.iter_modules(tasks.__path__)]
    values = [value for module in modules for value in vars(module).values()]
    return {value.name: value for value in values if isinstance(value, PythonFunctionTask)}


def template_of(task: PythonFunctionTask) -> str:
    values = yaml.safe_load((DEPLOY / "flyte" / "values.yaml").read_text())
    default = values["configuration"]["inline"]["plugins"]["k8s"]["default-pod-template-name"]
    return task.metadata.pod_template_name or default


def connections(name: str) -> set[str]:
    """The services that the code of a task connects to."""
    return {CLIENTS[found] for found in reached(name, without=CHECKS) if found in CLIENTS}


def reachable(pod: Pod) -> set[str]:
    return {service for service, (target, port) in SERVICES.items() if reaches(pod, target, port)}


@pytest.mark.parametrize("name", sorted(declared()))
def test_the_pod_of_a_task_reaches_what_its_code_connects_to_and_nothing_else_that_is_guarded(name: str) -> None:
    template = template_of(declared()[name])
    allowed, needed = reachable(task_pod(template)), connections(name)
    assert needed <= allowed
    if template == OUTSIDE_PODS:  # any address; vLLM still refuses it
        assert "vllm" not in allowed
    else:
        assert allowed & GUARDED <= needed


@pytest.mark.parametrize(
    ("name", "services"),
    [
        ("tasks.rollout.advance_canary", {"vllm"}),
        ("tasks.rollout.advance_shadow", {"vllm"}),
        ("tasks.events.drain_due", {"rabbitmq"}),
        ("tasks.collection.pull_due", {"outside"}),
        ("tasks.reports.report_weeks", {"outside"}),
        ("tasks.triggers.start_retraining", {"flyteadmin"}),
        ("tasks.features.keep_features", {"redis"}),
        ("tasks.training.train_adapter", set()),
        ("tasks.rollout.tell_people", set()),
    ],
)
def test_the_connections_of_a_task_are_found_in_its_code(name: str, services: set[str]) -> None:
    assert connections(name) - {"postgres"} == services | {"minio"}


SETTINGS = {
    "FUELLINE_S3_ACCESS_KEY": "minio",
    "FUELLINE_CATALOG": "postgres",
    "FUELLINE_ONLINE": "redis",
    "FUELLINE_RABBITMQ": "rabbitmq",
    "FUELLINE_VLLM": "vllm",
}
"""By setting: the service that it is the address or the key of."""


def modules(workload: str) -> dict[str, set[str]]:
    """Each module that a container of a workload runs, with the services that the container's settings name."""
    found = {}
    for container in containers(templates()[workload]):
        match container.get("command"):
            case ["python", "-m", name, *_]:
                env = {one["name"]: one.get("value", "") for one in container["env"]}
                named = {service for setting, service in SETTINGS.items() if setting in env}
                found[name] = named - {"vllm" if "127.0.0.1" in env.get("FUELLINE_VLLM", "") else ""}
    return found


def entry(name: str) -> str:
    """What ``python -m name`` runs, in a module or in a package's ``__main__``."""
    found = module(name)
    return f"{name}.__main__" if found and "__main__" in found.definitions else f"{name}.__main__.__main__"


@pytest.mark.parametrize("workload", sorted(set(templates()) - {"CronJob/nightly-copy"} - set(STORE_SETS)))
def test_a_serving_pod_reaches_exactly_what_its_code_connects_to_where_its_settings_say(workload: str) -> None:
    needed = {
        service for name, named in modules(workload).items() for service in connections(entry(name)) if service in named
    }
    assert needed
    assert reachable(pod_of(workload)) == needed


def test_every_client_is_in_the_code() -> None:
    starts = {*declared(), *(entry(name) for workload in templates() for name in modules(workload))}
    found = set().union(*(reached(name, without=CHECKS) for name in starts))
    assert set(CLIENTS) <= found


def test_every_template_is_used_and_runs_as_an_account_of_its_namespace() -> None:
    used = {template_of(task) for task in declared().values()}
    assert used == set(task_templates()) == {"fuelline", EVENT_PODS, OUTSIDE_PODS, ROLLOUT_PODS}
    accounts = {one["metadata"]["name"] for one in of("ServiceAccount") if one["metadata"]["namespace"] == TASKS}
    assert {template["spec"]["serviceAccountName"] for template in task_templates().values()} == accounts


def test_templates_differ_in_account_and_label_only() -> None:
    def rest(template: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in template["spec"].items() if key != "serviceAccountName"}

    specs = [rest(template) for template in task_templates().values()]
    assert all(spec == specs[0] for spec in specs)


def test_nothing_connects_to_a_task() -> None:
    for template in task_templates():
        for peer in (*map(task_pod, task_templates()), pod_of("StatefulSet/gateway"), Pod(namespace="monitoring")):
            assert not any(reaches(peer, task_pod(template), port) for port in (80, 8080, 10250))

"""The guide to a cluster, and the files that it applies, agree with what the code needs."""

import re
from pathlib import Path

import yaml
from flytekit.configuration import Image

from launchplans.registration.bundle import Kind, Version, entities
from launchplans.registry import launch_plans
from settings import Settings
from tasks.environments import CREDENTIALS, SECRETS
from tests.deployed import DEPLOY, FOLDERS, STORES, TASKS, of, task_templates

GUIDE = (Path(__file__).parents[2] / "docs" / "flyte.md").read_text()
SIZES = {"": 1, "Gi": 2**30}


VALUES = yaml.safe_load((DEPLOY / "flyte" / "values.yaml").read_text())


def _size(quantity: str) -> int:
    number, unit = re.fullmatch(r"(\d+)(\w*)", quantity).groups()  # type: ignore[union-attr]
    return int(number) * SIZES[unit]


def test_the_secret_of_the_guide_has_the_keys_that_the_tasks_request() -> None:
    [created] = re.findall(rf"create secret generic {CREDENTIALS} \\\n(.*?)\n```", GUIDE, re.DOTALL)
    keys = set(re.findall(r"--from-literal=(\w+)=", created))
    requested = {secret.key for secret in SECRETS}
    assert keys == requested - {"FUELLINE_TRACKING"}  # the text describes that one


def test_every_setting_in_the_guide_exists() -> None:
    known = {f"FUELLINE_{name.upper()}" for name in Settings.model_fields}
    assert set(re.findall(r"FUELLINE_[A-Z0-9_]+", GUIDE)) <= known


def test_the_resource_limits_of_flyte_cover_every_task() -> None:
    allowed = VALUES["configuration"]["inline"]["task_resources"]["limits"]
    names = {"CPU": "cpu", "MEMORY": "memory", "GPU": "gpu", "EPHEMERAL_STORAGE": "ephemeralStorage"}
    images = {f"{name}_image": Image(name, f"registry.example/{name}", "v1") for name in ("cpu", "gpu")}
    for entity in entities(Version(project="agents", domain="production", version="v1", **images)):
        if entity.kind is Kind.TASK:
            container = entity.message.template.container
            for limit in container.resources.limits:
                name = names[type(limit).DESCRIPTOR.fields_by_name["name"].enum_type.values_by_number[limit.name].name]
                assert _size(limit.value) <= _size(allowed[name]), (entity.name, name)


def test_flytes_default_pod_template_exists_and_each_applies_to_every_container() -> None:
    assert VALUES["configuration"]["inline"]["plugins"]["k8s"]["default-pod-template-name"] in task_templates()
    for template in task_templates().values():
        assert [container["name"] for container in template["spec"]["containers"]] == ["default"]
        mounted = {mount["name"] for mount in template["spec"]["containers"][0]["volumeMounts"]}
        assert mounted == {volume["name"] for volume in template["spec"]["volumes"]}


def test_the_namespace_of_the_tasks_is_that_of_the_project_and_domain() -> None:
    [project] = VALUES["flyte-core-components"]["admin"]["seedProjects"]
    assert TASKS in {f"{project}-{domain['id']}" for domain in VALUES["configuration"]["inline"]["domains"]}


def test_each_store_has_the_service_of_its_address() -> None:
    services = {
        service["metadata"]["name"]: str(service["spec"]["ports"][0]["port"])
        for service in of("Service")
        if service["metadata"]["namespace"] == STORES
    }
    files = [path for path in DEPLOY.rglob("*") if path.suffix in (".yaml", ".env", ".properties")]
    address = re.compile(r"(?:http://|@|jdbc:postgresql://)(\w+)\.flyte\.svc\.cluster\.local:(\d+)")
    named = {found for text in (GUIDE, *(path.read_text() for path in files)) for found in address.findall(text)}
    assert {*services.items()} == named | {("rabbitmq", "5672")}


def test_the_secret_of_the_stores_has_the_keys_that_they_read() -> None:
    [created] = re.findall(r"create secret generic stores \\\n(.*?)\nkubectl", GUIDE, re.DOTALL)
    stores = [workload for workload in of("StatefulSet") if workload["metadata"]["namespace"] == STORES]
    read = {
        variable["valueFrom"]["secretKeyRef"]["key"]
        for workload in stores
        for variable in workload["spec"]["template"]["spec"]["containers"][0]["env"]
        if "valueFrom" in variable
    }
    assert set(re.findall(r"--from-literal=(\w+)=", created)) == read


def test_the_addresses_of_vllm_replicas_contain_their_namespace() -> None:
    namespace = yaml.safe_load((DEPLOY / "namespace.yaml").read_text())["metadata"]["name"]
    [named] = re.findall(r"FUELLINE_VLLM=([^`]+)`", GUIDE)
    for address in named.split(","):
        assert re.fullmatch(rf"http://vllm-\d\.vllm\.{namespace}:8001", address)


def test_every_volume_claim_of_a_pod_is_created() -> None:
    for template in task_templates().values():
        volumes = template["spec"]["volumes"]
        wanted = {one["persistentVolumeClaim"]["claimName"] for one in volumes if "persistentVolumeClaim" in one}
        assert wanted == {claim["metadata"]["name"] for claim in of("PersistentVolumeClaim")}


def test_every_folder_is_applied_in_the_order_of_the_guide() -> None:
    assert {DEPLOY.parent / name for name in re.findall(r"kubectl apply -k (deploy(?:/\w+)?)", GUIDE)} == set(FOLDERS)


def test_every_launch_plan_in_the_guide_exists() -> None:
    named = set(re.findall(r"`((?:ingest|compute|retrain|retraining)_?\w*)`", GUIDE))
    assert named <= set(launch_plans())
    assert {"retraining", "retrain_on_schedule"} <= named

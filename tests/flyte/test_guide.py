"""The guide to a cluster agrees with what the code needs."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from flytekit.configuration import Image

from launchplans.registration.bundle import Kind, Version, entities
from launchplans.registry import launch_plans
from settings import Settings
from tasks.environments import CREDENTIALS, SECRETS

GUIDE = (Path(__file__).parents[2] / "docs" / "flyte.md").read_text()
DEPLOY = Path(__file__).parents[2] / "deploy"
SIZES = {"": 1, "Gi": 2**30}


@pytest.fixture(scope="module")
def documents() -> list[Any]:
    blocks = re.findall(r"^```yaml\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)
    return [document for block in blocks for document in yaml.safe_load_all(block)]


def of(documents: list[Any], kind: str) -> list[Any]:
    return [document for document in documents if document.get("kind") == kind]


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


def test_the_resource_limits_of_flyte_cover_every_task(documents: list[Any]) -> None:
    [values] = [document for document in documents if "configuration" in document]
    allowed = values["configuration"]["inline"]["task_resources"]["limits"]
    names = {"CPU": "cpu", "MEMORY": "memory", "GPU": "gpu", "EPHEMERAL_STORAGE": "ephemeralStorage"}
    images = {f"{name}_image": Image(name, f"registry.example/{name}", "v1") for name in ("cpu", "gpu")}
    for entity in entities(Version(project="agents", domain="production", version="v1", **images)):
        if entity.kind is Kind.TASK:
            container = entity.message.template.container
            for limit in container.resources.limits:
                name = names[type(limit).DESCRIPTOR.fields_by_name["name"].enum_type.values_by_number[limit.name].name]
                assert _size(limit.value) <= _size(allowed[name]), (entity.name, name)


def test_flytes_default_pod_template_is_that_of_the_guide_and_applies_to_every_container(
    documents: list[Any],
) -> None:
    [values] = [document for document in documents if "configuration" in document]
    [template] = of(documents, "PodTemplate")
    plugin = values["configuration"]["inline"]["plugins"]["k8s"]
    assert plugin["default-pod-template-name"] == template["metadata"]["name"]
    spec = template["template"]["spec"]
    assert [container["name"] for container in spec["containers"]] == ["default"]
    mounted = {mount["name"] for mount in spec["containers"][0]["volumeMounts"]}
    assert mounted == {volume["name"] for volume in spec["volumes"]}


def test_each_store_has_the_service_of_its_address(documents: list[Any]) -> None:
    services = {
        service["metadata"]["name"]: service["spec"]["ports"][0]["port"] for service in of(documents, "Service")
    }
    named = set(re.findall(r"(?:http://|@)(\w+)\.flyte\.svc\.cluster\.local:(\d+)", GUIDE))
    assert {(name, str(port)) for name, port in services.items()} == named
    assert {stateful_set["spec"]["serviceName"] for stateful_set in of(documents, "StatefulSet")} == set(services)


def test_the_addresses_of_vllm_replicas_contain_their_namespace() -> None:
    namespace = yaml.safe_load((DEPLOY / "namespace.yaml").read_text())["metadata"]["name"]
    [named] = re.findall(r"FUELLINE_VLLM=([^`]+)`", GUIDE)
    for address in named.split(","):
        assert re.fullmatch(rf"http://vllm-\d\.vllm\.{namespace}:8001", address)


def test_every_volume_claim_of_a_pod_is_created(documents: list[Any]) -> None:
    [template] = of(documents, "PodTemplate")
    volumes = template["template"]["spec"]["volumes"]
    wanted = {volume["persistentVolumeClaim"]["claimName"] for volume in volumes if "persistentVolumeClaim" in volume}
    assert wanted == {claim["metadata"]["name"] for claim in of(documents, "PersistentVolumeClaim")}


def test_every_launch_plan_in_the_guide_exists() -> None:
    named = set(re.findall(r"`((?:ingest|compute|retrain|retraining)_?\w*)`", GUIDE))
    assert named <= set(launch_plans())
    assert {"retraining", "retrain_on_schedule"} <= named

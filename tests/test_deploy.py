"""The manifests: valid for stated versions of Kubernetes, whole, locked down, and closed to whom they should be."""

import json
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any

import kubernetes_validate
import pytest
import yaml

from serving.options import CONCURRENCY
from settings import Settings
from tests.deployed import (
    COPYING,
    DEPLOY,
    FOLDERS,
    NAMESPACE,
    Pod,
    all_containers,
    files,
    generated,
    kustomization,
    manifests,
    of,
    pod_of,
    reaches,
    selects,
    settings_env,
    templates,
    the,
    title,
)

VERSIONS = ("1.34", "1.37")
"""Oldest and newest version of Kubernetes that the manifests are held to; docs/serving-on-kubernetes.md names them."""
GUIDE, SERVICES = ((DEPLOY.parent / "docs" / name).read_text() for name in ("serving-on-kubernetes.md", "services.md"))
ACCOUNT = "fuelline.internal/account"
SECRET = "KEY|CATALOG|ONLINE|TRACKING|RABBITMQ"

GATEWAY, VLLM, STEWARD, LAKE_CONSUMER, STREAMING_CONSUMER = OURS = [
    pod_of(name)
    for name in (
        "StatefulSet/gateway",
        "StatefulSet/vllm",
        "Deployment/steward",
        "Deployment/lake-consumer",
        "Deployment/streaming-consumer",
    )
]
COPY = pod_of("CronJob/nightly-copy", COPYING)
ROLLOUT_STEP = Pod(namespace="agents-production", labels={ACCOUNT: "rollout"})
OTHER_TASK = Pod(namespace="agents-production")
AGENT = Pod(namespace="homelab", namespace_labels={"fuelline.internal/agents": "true"})
STRANGER = Pod(namespace="homelab", labels=GATEWAY.labels)
UNNAMED = Pod(labels={"app": "debug"})
PROMETHEUS = Pod(namespace="monitoring")
EVERYBODY = {
    "gateway": GATEWAY,
    "vllm": VLLM,
    "steward": STEWARD,
    "lake consumer": LAKE_CONSUMER,
    "streaming consumer": STREAMING_CONSUMER,
    "nightly copy": COPY,
    "rollout step": ROLLOUT_STEP,
    "other task": OTHER_TASK,
    "agent": AGENT,
    "stranger with the gateway's labels": STRANGER,
    "pod of the namespace": UNNAMED,
    "prometheus": PROMETHEUS,
}


def who_reaches(target: Pod, port: int) -> set[str]:
    return {name for name, pod in EVERYBODY.items() if reaches(pod, target, port)}


def references(node: Any, *names: str) -> Iterator[tuple[str, str]]:
    """Every pair of a name in ``names`` and what stands under it, anywhere in a manifest."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key in names:
                yield key, value["name"] if isinstance(value, dict) else value
            yield from references(value, *names)
    elif isinstance(node, list):
        for value in node:
            yield from references(value, *names)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_manifest_passes_the_strict_schema(version: str) -> None:
    for manifest in manifests():
        assert kubernetes_validate.validate(manifest, version, strict=True) == version, title(manifest)


def test_the_strict_schema_refuses_a_field_that_does_not_exist() -> None:
    wrong = {**the("ServiceAccount", "gateway"), "automountToken": False}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[0], strict=True)


def test_the_guide_names_the_versions() -> None:
    assert all(version in GUIDE for version in VERSIONS)


def test_every_file_is_applied() -> None:
    for folder in (DEPLOY, DEPLOY / "copy"):
        assert {path.name for path in files(folder)} == {*kustomization(folder)["resources"]}
        assert all((folder / name).is_file() for names in generated(folder).values() for name in names)


def test_everything_that_can_stand_in_a_namespace_names_it() -> None:
    clusterwide = {"Namespace", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}
    assert {one["kind"] for one in manifests() if "namespace" not in one["metadata"]} == clusterwide
    for folder, namespace in zip(FOLDERS, (NAMESPACE, COPYING), strict=True):
        documents = [one for path in files(folder) for one in yaml.safe_load_all(path.read_text())]
        assert {one["metadata"].get("namespace", namespace) for one in documents} == {namespace}


def test_no_two_manifests_have_one_name() -> None:
    assert len({title(one) for one in manifests()}) == len(manifests())


def test_every_selector_matches_the_pods_it_is_for() -> None:
    for workload in (*of("StatefulSet"), *of("Deployment")):
        assert selects(workload["spec"]["selector"], workload["spec"]["template"]["metadata"]["labels"]), title(
            workload
        )
    labels = [template["metadata"]["labels"] for template in templates().values()]
    for budget in of("PodDisruptionBudget"):
        assert sum(selects(budget["spec"]["selector"], one) for one in labels) == 1, title(budget)
    for policy in of("NetworkPolicy"):
        assert any(selects(policy["spec"]["podSelector"], one) for one in labels), title(policy)
    for template in templates().values():
        for spread in template["spec"].get("topologySpreadConstraints", []):
            assert selects(spread["labelSelector"], template["metadata"]["labels"])


def test_every_service_leads_to_a_port_of_one_workload() -> None:
    for service in of("Service"):
        chosen = [
            one
            for one in templates().values()
            if service["spec"]["selector"].items() <= one["metadata"]["labels"].items()
        ]
        assert len(chosen) == 1, title(service)
        ports = {
            port["name"]: port["containerPort"]
            for one in chosen[0]["spec"]["containers"]
            for port in one.get("ports", [])
        }
        for port in service["spec"]["ports"]:
            assert ports[port["targetPort"]] == port["port"], title(service)


def test_every_stateful_set_has_its_headless_service() -> None:
    for workload in of("StatefulSet"):
        assert the("Service", workload["spec"]["serviceName"])["spec"]["clusterIP"] == "None"


def test_every_container_that_stays_is_probed_or_says_why_not() -> None:
    for name, template, container in all_containers():
        if container in template["spec"]["containers"] and not {"livenessProbe", "readinessProbe"} <= container.keys():
            reason = (
                template["metadata"].get("annotations", {}).get(f"fuelline.internal/unprobed-{container['name']}", "")
            )
            assert len(reason.split()) > 5, name


def test_no_probe_over_http_asks_where_only_loopback_listens() -> None:
    for name, template, container in all_containers():
        ports = {
            value
            for one in template["spec"]["containers"]
            for port in one.get("ports", [])
            for value in (port["name"], port["containerPort"])
        }
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            for how in ("httpGet", "tcpSocket"):
                assert container.get(probe, {}).get(how, {}).get("port") in {None, *ports}, name


def test_every_pod_is_locked_down() -> None:
    for name, template in templates().items():
        spec = template["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["runAsUser"] > 0, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert spec["automountServiceAccountToken"] is False, name
        assert not spec.keys() & {"hostNetwork", "hostPID", "hostIPC"}, name
        assert not any("hostPath" in volume for volume in spec["volumes"]), name


def test_every_container_is_locked_down_and_says_what_it_needs() -> None:
    for name, _, container in all_containers():
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, name
        assert {"cpu", "memory"} <= container["resources"]["requests"].keys(), name
        assert "memory" in container["resources"]["limits"], name


def test_every_image_is_pinned() -> None:
    ours = {one["name"] for folder in FOLDERS for one in kustomization(folder)["images"]}
    for name, _, container in all_containers():
        image = container["image"]
        assert image in ours or re.fullmatch(r"[\w./-]+:v?\d+\.\d+\.\d+", image), name


def test_every_folder_that_is_written_to_is_a_volume() -> None:
    """The root file system is read-only, so what FUELLINE_HOME and FUELLINE_CACHE name has to be mounted."""
    for name, template, container in all_containers():
        volumes = {one["name"] for one in template["spec"]["volumes"]} | {"spool"}
        mounts = {one["mountPath"]: one for one in container["volumeMounts"]}
        assert {one["name"] for one in mounts.values()} <= volumes, name
        if container["image"] in ("fuelline-cpu", "fuelline-copy"):
            assert "/tmp" in mounts, name
        if any(f"{package}." in str(container.get("command")) for package in ("serving", "lake", "features")):
            assert settings_env()["FUELLINE_HOME"] in mounts, name


def test_every_reference_is_there_or_in_the_guide() -> None:
    maps = {name for folder in FOLDERS for name in generated(folder)} | {"kube-root-ca.crt"}
    accounts = {one["metadata"]["name"] for one in of("ServiceAccount")}
    for template in templates().values():
        for kind, name in references(template, "configMapRef", "configMap", "configMapKeyRef"):
            assert name in maps, (kind, name)
        for _, name in references(template, "serviceAccountName"):
            assert name in accounts
        for _, name in references(template, "secretKeyRef", "secretRef", "secretName"):
            assert f"create secret generic {name}" in GUIDE + SERVICES, name


def test_no_secret_is_in_the_repository() -> None:
    assert of("Secret") == []
    for name, _, container in all_containers():
        secret = {one["name"] for one in container.get("env", []) if re.search(SECRET, one["name"])}
        plain = {one["name"] for one in container.get("env", []) if "value" in one}
        assert secret & plain <= {"FUELLINE_KEYS"}, (
            f"{name}: FUELLINE_KEYS is the path of a file, the others are secrets"
        )
    for folder in FOLDERS:
        for name in (name for names in generated(folder).values() for name in names if name.endswith(".env")):
            assert not re.search(rf"(?m)^\w*({SECRET})\w*=", (folder / name).read_text()), name


def test_every_setting_is_one_that_fuelline_reads() -> None:
    known = {f"FUELLINE_{name.upper()}" for name in Settings.model_fields} | {"FUELLINE_KEYS"}
    named = {one["name"] for _, _, container in all_containers() for one in container.get("env", [])}
    assert {name for name in {*named, *settings_env()} if name.startswith("FUELLINE_")} <= known
    assert settings_env()["FUELLINE_CLUSTER"], "features are read by its name"


def test_a_setting_that_is_wrong_in_the_manifests_is_refused_here_and_not_in_the_cluster() -> None:
    for _, _, container in all_containers():
        own = {one["name"]: one["value"] for one in container.get("env", []) if "value" in one}
        values = {name.removeprefix("FUELLINE_").lower(): value for name, value in (settings_env() | own).items()}
        Settings(**{name: value for name, value in values.items() if name in Settings.model_fields})


def test_vllm_serves_loras_and_listens_on_loopback_only() -> None:
    vllm = next(one for _, _, one in all_containers() if one["name"] == "vllm")
    assert {"--host=127.0.0.1", "--port=8000", "--enable-lora", "--served-model-name=base"} <= set(vllm["args"])
    assert {"--enable-auto-tool-choice", "--tool-call-parser=hermes"} <= set(vllm["args"]), "it would refuse all tools"
    assert {"name": "VLLM_ALLOW_RUNTIME_LORA_UPDATING", "value": "True"} in vllm["env"]
    assert "ports" not in vllm


def test_every_replica_of_vllm_is_asked_by_name() -> None:
    replicas = the("StatefulSet", "vllm")["spec"]["replicas"]
    for workload, port in (("StatefulSet/gateway", 8080), ("Deployment/steward", 8001)):
        env = {one["name"]: one.get("value") for one in templates()[workload]["spec"]["containers"][0]["env"]}
        assert env["FUELLINE_VLLM"].split(",") == [f"http://vllm-{i}.vllm:{port}" for i in range(replicas)]


def test_the_gateway_has_two_replicas_at_least_and_is_scaled_down_slowly() -> None:
    scaler = the("HorizontalPodAutoscaler", "gateway")["spec"]
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (2, 6)
    assert scaler["behavior"]["scaleDown"]["stabilizationWindowSeconds"] >= 600
    assert "replicas" not in the("StatefulSet", "gateway")["spec"], "an apply would undo what the autoscaler did"
    assert the("PodDisruptionBudget", "gateway")["spec"]["minAvailable"] == 1


def test_the_door_of_one_pod_takes_all_that_every_gateway_may_have_under_way() -> None:
    door = dict(re.findall(r"(worker_\w+) (\d+);", (DEPLOY / "nginx.conf").read_text()))
    gateway = templates()["StatefulSet/gateway"]["spec"]["containers"][0]
    assert not any("--concurrency" in one for one in gateway["args"])
    requests = the("HorizontalPodAutoscaler", "gateway")["spec"]["maxReplicas"] * CONCURRENCY
    others = 256  # what listens, idle connections, probes, the rollout, Prometheus
    assert int(door["worker_processes"]) * int(door["worker_connections"]) >= 2 * requests + others
    assert int(door["worker_rlimit_nofile"]) > int(door["worker_connections"])


def test_a_gateway_keeps_its_spool_over_restarts_and_has_time_to_empty_it() -> None:
    spec = the("StatefulSet", "gateway")["spec"]
    pod = spec["template"]["spec"]
    mounts = {one["name"]: one["mountPath"] for one in pod["containers"][0]["volumeMounts"]}
    assert mounts[spec["volumeClaimTemplates"][0]["metadata"]["name"]] == settings_env()["FUELLINE_HOME"]
    assert spec["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": "Retain", "whenScaled": "Retain"}
    assert pod["terminationGracePeriodSeconds"] > pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"] + 60


def test_only_gateways_reach_the_inference_of_vllm() -> None:
    assert who_reaches(VLLM, 8080) == {"gateway"}


def test_only_the_rollout_reaches_the_port_of_the_rollout() -> None:
    assert who_reaches(VLLM, 8001) == {"steward", "rollout step"}


def test_nobody_reaches_the_port_where_adapters_are_loaded() -> None:
    assert who_reaches(VLLM, 8000) == set()


def test_only_prometheus_reads_the_metrics_of_vllm() -> None:
    assert who_reaches(VLLM, 8002) == {"prometheus"}


def test_agents_reach_the_gateway_and_nothing_else() -> None:
    assert who_reaches(GATEWAY, 8080) == {"agent", "prometheus"}
    assert {
        name
        for name in ("vllm", "steward", "lake consumer", "streaming consumer")
        for port in (8000, 8001, 8002, 8080)
        if reaches(AGENT, EVERYBODY[name], port)
    } == set()


@pytest.mark.parametrize(
    ("pod", "stores"),
    [
        (GATEWAY, {"minio", "redis", "postgres"}),
        (VLLM, {"minio"}),
        (STEWARD, {"minio", "postgres"}),
        (LAKE_CONSUMER, {"rabbitmq", "minio", "postgres"}),
        (STREAMING_CONSUMER, {"rabbitmq", "redis", "minio", "postgres"}),
        (UNNAMED, set()),
        (COPY, set()),
    ],
    ids=["gateway", "vllm", "steward", "lake consumer", "streaming consumer", "another pod", "copy"],
)
def test_each_part_reaches_the_stores_it_needs(pod: Pod, stores: set[str]) -> None:
    ports = {"minio": 9000, "redis": 6379, "postgres": 5432, "rabbitmq": 5672}
    assert {
        one for one, port in ports.items() if reaches(pod, Pod(namespace="flyte", labels={"app": one}), port)
    } == stores


def test_nobody_reaches_a_consumer_or_the_copy() -> None:
    for pod in (LAKE_CONSUMER, STREAMING_CONSUMER, COPY):
        assert {port for port in (80, 5672, 8080, 9000) if who_reaches(pod, port)} == set()


def test_the_copy_reaches_the_stores_of_its_own_place_and_no_other_pod() -> None:
    ports = {"minio": 9000, "redis": 6379, "postgres": 5432, "rabbitmq": 5672}
    reached = {
        (namespace, app)
        for namespace in (COPYING, NAMESPACE, "flyte")
        for app, port in ports.items()
        if reaches(COPY, Pod(namespace=namespace, labels={"app": app}), port)
    }
    assert reached == {(COPYING, "minio"), (COPYING, "postgres")}


def test_the_copy_runs_the_script_that_is_tested_and_never_twice_at_once() -> None:
    copy = the("CronJob", "nightly-copy")["spec"]
    assert (copy["concurrencyPolicy"], copy["jobTemplate"]["spec"]["template"]["spec"]["restartPolicy"]) == (
        "Forbid",
        "Never",
    )
    assert generated(DEPLOY / "copy")["nightly-copy"] == ["nightly.sh"]
    (container,) = copy["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    (mount,) = (one for one in container["volumeMounts"] if one["name"] == "script")
    assert container["command"] == [f"{mount['mountPath']}/nightly.sh"]


def test_everybody_may_ask_for_names_and_nobody_for_the_internet() -> None:
    dns = Pod(namespace="kube-system", labels={"k8s-app": "kube-dns"})
    for pod in (*OURS, COPY):
        assert reaches(pod, dns, 53, "UDP")
        assert not reaches(pod, Pod(namespace="somewhere"), 443)


def test_the_label_of_an_account_is_bound_to_it_wherever_a_policy_trusts_it() -> None:
    for name, template in templates().items():
        if name != "CronJob/nightly-copy":  # at Studio no policy trusts a label
            assert template["metadata"]["labels"][ACCOUNT] == template["spec"]["serviceAccountName"], name
    policy, binding = of("ValidatingAdmissionPolicy")[0]["spec"], of("ValidatingAdmissionPolicyBinding")[0]["spec"]
    assert binding["policyName"] == of("ValidatingAdmissionPolicy")[0]["metadata"]["name"]
    assert (policy["failurePolicy"], binding["validationActions"]) == ("Fail", ["Deny"])
    assert set(policy["matchConstraints"]["resourceRules"][0]["operations"]) == {"CREATE", "UPDATE"}
    assert (
        f"object.spec.serviceAccountName == object.metadata.labels['{ACCOUNT}']"
        in policy["validations"][0]["expression"]
    )
    trusted = {NAMESPACE} | {
        peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]
        for one in of("NetworkPolicy")
        for rule in one["spec"].get("ingress", [])
        for peer in rule["from"]
        if ACCOUNT in peer.get("podSelector", {}).get("matchLabels", {}) and "namespaceSelector" in peer
    }
    assert set(binding["matchResources"]["namespaceSelector"]["matchExpressions"][0]["values"]) == trusted


def test_no_account_has_a_right_in_kubernetes() -> None:
    kinds = ("Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding")
    assert [title(one) for one in manifests() if one["kind"] in kinds] == []


def allows(account: str, action: str, key: str) -> bool:
    statements = json.loads((DEPLOY / "minio" / f"{account}.json").read_text())["Statement"]
    resource = f"arn:aws:s3:::fuelline/lakes/{settings_env()['FUELLINE_LAKE']}/{key}"
    return any(
        f"s3:{action}" in one["Action"] and any(fnmatchcase(resource, pattern) for pattern in one["Resource"])
        for one in statements
        if one["Effect"] == "Allow"
    )


EVENTS, KEY = "raw/cloud-events/rabbitmq/2026-11-09/one.jsonl", "keys/streaming"
QUEUE_ENTRY = "ledger/sources/rabbitmq/e000000000003.json"
ENTRY, WEIGHTS = "ledger/models/agents/e000000000003.json", "ml/models/agents/v3/adapter_model.safetensors"
MANIFEST, WAITING = "ml/models/agents/v3/manifest.json", "inbox/agents/gateway-0/1-40.jsonl"
RAW, DATA = "raw/agents/2026-11-09/one.jsonl.gz", "warehouse/processed/agent_interactions/data/one.parquet"
KEYS = (ENTRY, QUEUE_ENTRY, WEIGHTS, MANIFEST, WAITING, RAW, EVENTS, DATA, KEY)


@pytest.mark.parametrize(
    ("account", "reads", "writes", "deletes"),
    [
        ("gateway", {ENTRY, QUEUE_ENTRY, MANIFEST}, {WAITING}, set()),
        ("vllm", {ENTRY, QUEUE_ENTRY, MANIFEST, WEIGHTS}, set(), set()),
        ("rollout", set(KEYS), {ENTRY, QUEUE_ENTRY, RAW, EVENTS, DATA}, {WAITING, DATA}),
        ("lake-consumer", {QUEUE_ENTRY, EVENTS, DATA}, {QUEUE_ENTRY, EVENTS, DATA}, {DATA}),
        ("streaming-consumer", {KEY}, {KEY}, set()),
    ],
)
def test_each_account_may_do_in_the_store_what_it_has_to(
    account: str, reads: set[str], writes: set[str], deletes: set[str]
) -> None:
    may = {
        action: {key for key in KEYS if allows(account, action, key)}
        for action in ("GetObject", "PutObject", "DeleteObject")
    }
    assert may == {"GetObject": reads, "PutObject": writes, "DeleteObject": deletes}


def test_every_account_with_credentials_has_a_policy_in_the_store() -> None:
    named = {name for template in templates().values() for _, name in references(template, "secretKeyRef")}
    elsewhere = {"tasks", "copy-forge", "copy-studio"}  # Flyte's namespace, and whoever copies at night
    accounts = {path.stem for path in (DEPLOY / "minio").glob("*.json")} - elsewhere
    assert {f"{account}-credentials" for account in accounts} == named

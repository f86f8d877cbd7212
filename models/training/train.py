"""Training of a LoRA adapter on a training set, found again by its key: what was trained once is never trained twice.

The training key names everything that the weights depend on: the training set, the base model's content, the spec, the
hyperparameters with their seed, and a digest of the code that trains. An adapter lies under
``ml/adapters/{training_key}/``; ``training.json`` is written last, so its presence means that the rest is complete.
"""

import hashlib
import json
import logging
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import torch

from errors import DataError, UserError
from lake.lake import Lake, open_lake
from lake.store.objects import ObjectStore
from models.data.training_set import read_training_set
from models.llm.base_model import BaseModel, load, resolve
from models.llm.code_version import TRAINING_CODE, code_digest
from models.llm.distributed import ProcessGroup, dtype_of, fingerprint, group_member, process_group, repeatable
from models.llm.lora import WEIGHTS, adapter_files, add_adapter
from models.llm.probe import PROBE, take_probe
from models.llm.tokens import TokenizedExamples, endless_steps, padding_waste, training_examples
from models.prompt import PROMPT_VERSION
from models.spec import ModelSpec, TrainingProfile
from models.training.checkpoints import Checkpoints, Progress
from models.training.loop import OnStep, TrainingLoop, step_rows
from models.types import TrainedAdapter, TrainingSet
from settings import Settings

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedTokenizerBase

log = logging.getLogger("fuelline.training")

MANIFEST = "training.json"


def train(
    lake: Lake,
    training_set: TrainingSet,
    spec: ModelSpec,
    profile: TrainingProfile,
    *,
    on_step: OnStep | None = None,
    root: str = "ml",
) -> TrainedAdapter:
    """Train the adapter of this training key, go on with it where it was killed, or return it if it is there.

    Args:
        lake: where the rows are and the adapter goes.
        training_set: its ``train`` rows are learnt from.
        spec: the model.
        profile: sizes and hyperparameters.
        on_step: called after each step, in this process (not under torchrun's other ranks).
        root: folder of checkpoints and adapters; another one trains anew, as a replay must.

    Raises:
        DataError: fewer than two rows carry a weight.
        BaseModelError: the base model is not there, or has none of the profile's LoRA targets.
        TrainingError: the loss left the real numbers.
    """
    if spec.prompt_version != PROMPT_VERSION:
        raise UserError(
            f"model {spec.name} asks for prompt {spec.prompt_version!r}; this release has {PROMPT_VERSION!r}"
        )
    base = resolve(lake.settings, spec.base)
    key = training_key(training_set, base, spec, profile)
    found = find_trained(lake.store, training_set, key, root=root)
    if found is not None:
        log.info("adapter %s is there already", key[:12])
        return found
    job = _Job(training_set=training_set, spec=spec, profile=profile, root=root, base=base, key=key)
    with process_group(profile, _companion, (lake.settings, job)) as group:
        _train(lake, job, group, on_step)
    trained = find_trained(lake.store, training_set, key, root=root)
    assert trained is not None, "rank 0 writes the manifest before the group parts"
    return trained


def training_key(training_set: TrainingSet, base: BaseModel, spec: ModelSpec, profile: TrainingProfile) -> str:
    """32 hex digits that name everything the weights depend on but the machine."""
    parts = {
        "training_set": training_set.training_set_id,
        "base": base.digest,
        "spec": {name: value for name, value in asdict(spec).items() if name != "base"},
        "parameters": profile.training_parameters(),
        "code": code_digest(*TRAINING_CODE),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def find_trained(store: ObjectStore, training_set: TrainingSet, key: str, *, root: str = "ml") -> TrainedAdapter | None:
    """The finished adapter of this key, if there is one."""
    path = f"{root}/adapters/{key}"
    if not store.exists(f"{path}/{MANIFEST}"):
        return None
    manifest = json.loads(store.read(f"{path}/{MANIFEST}"))
    return TrainedAdapter(
        model=training_set.model,
        training_key=key,
        training_set=training_set,
        path=path,
        digest=manifest["adapter_digest"],
        base_digest=manifest["base_digest"],
        steps=manifest["steps"],
        train_loss=manifest["train_loss"],
        tokens=manifest["tokens"],
    )


def read_manifest(store: ObjectStore, path: str) -> dict[str, Any]:
    """``training.json`` of the adapter at ``path``: losses of every step, parameters, machine."""
    manifest: dict[str, Any] = json.loads(store.read(f"{path.rstrip('/')}/{MANIFEST}"))
    return manifest


@dataclass(frozen=True, kw_only=True, slots=True)
class _Job:
    """What every process of one training is told."""

    training_set: TrainingSet
    spec: ModelSpec
    profile: TrainingProfile
    root: str
    base: BaseModel
    key: str


def _companion(rank: int, world: int, rendezvous: str, settings: Settings, job: _Job) -> None:
    """What the processes other than rank 0 do."""
    lake = open_lake(settings)
    with group_member(rank, world, rendezvous) as group:
        _train(lake, job, group, None)


def _train(lake: Lake, job: _Job, group: ProcessGroup, on_step: OnStep | None) -> None:
    rows = read_training_set(lake, job.training_set, "train")
    with repeatable(job.profile):
        checkpoints = Checkpoints(
            store=lake.store,
            folder=f"{job.root}/checkpoints/{job.key}",
            fingerprint=fingerprint(group, dtype_of(job.profile, group.device)),
        )
        fitted = fit(rows, job.base, job.profile, checkpoints, group=group, on_step=on_step)
        if group.rank == 0:
            report = _report(job, fitted.examples, fitted.progress, checkpoints)
            files = adapter_files(fitted.model, job.base)
            files[PROBE] = take_probe(fitted.model, fitted.tokenizer).encode()
            _store(lake.store, f"{job.root}/adapters/{job.key}", files, report)
            checkpoints.clear()
        group.wait()


@dataclass(frozen=True, kw_only=True, slots=True)
class Fitted:
    """A training that has just ended, in this process."""

    model: "PeftModel"
    tokenizer: "PreTrainedTokenizerBase"
    examples: TokenizedExamples
    progress: Progress
    """With every step's loss."""


def fit(
    rows: pa.Table,
    base: BaseModel,
    profile: TrainingProfile,
    checkpoints: Checkpoints,
    *,
    group: ProcessGroup,
    on_step: OnStep | None = None,
) -> Fitted:
    """Train on these rows in this process; call it under ``models.llm.distributed.repeatable``.

    Raises:
        DataError: fewer than two rows carry a weight.
        TrainingError: the loss left the real numbers.
    """
    model, tokenizer = load(base, dtype_of(profile, group.device), group.device)
    examples = training_examples(rows, tokenizer, profile.max_tokens)
    if len(examples) < 2:
        raise DataError(
            f"{len(examples)} of {len(rows)} training rows carry a weight; training needs two at least: "
            "widen the window, or look at what was quarantined"
        )
    torch.manual_seed(profile.seed)
    adapted = add_adapter(model, profile)
    loop = TrainingLoop(adapted, examples, profile, group, int(tokenizer.pad_token_id))
    return Fitted(model=adapted, tokenizer=tokenizer, examples=examples, progress=loop.run(checkpoints, on_step))


def _report(job: _Job, examples: TokenizedExamples, progress: Progress, checkpoints: Checkpoints) -> dict[str, Any]:
    tail = progress.losses[-max(1, len(progress.losses) // 10) :]
    size = step_rows(job.profile, checkpoints.fingerprint["processes"])
    order = endless_steps(examples.lengths, size, job.profile.seed)
    return {
        "training_set_id": job.training_set.training_set_id,
        "base_digest": job.base.digest,
        "spec": asdict(job.spec),
        "profile": asdict(job.profile),
        "code": code_digest(*TRAINING_CODE),
        "machine": dict(checkpoints.fingerprint),
        "rows": len(examples),
        "steps": progress.step,
        "tokens": progress.tokens,
        "losses": list(progress.losses),
        "train_loss": sum(tail) / len(tail),
        "padding_waste": padding_waste(examples.lengths, [next(order) for _ in range(progress.step)]),
    }


def _store(store: ObjectStore, path: str, files: dict[str, bytes], report: dict[str, Any]) -> None:
    """The manifest goes last: where it is, everything is."""
    for name, data in files.items():
        store.write(f"{path}/{name}", data)
    report |= {"adapter_digest": hashlib.sha256(files[WEIGHTS]).hexdigest()}
    store.write(f"{path}/{MANIFEST}", json.dumps(report, sort_keys=True, indent=1).encode())

"""Train a LoRA adapter on a training set, or find it by its key: nothing is trained twice.

The training key covers everything that the weights depend on: the training set, the base model's content, the spec, the
hyperparameters with their seed, and a digest of the training code. An adapter is stored under
``ml/adapters/{training_key}/``; ``training.json`` is written last, so if it exists the adapter is complete.
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
    """Train the adapter of these inputs, continue a training that was killed, or return the finished adapter.

    ``on_step`` is called in this process (not under torchrun's other ranks). Checkpoints and adapters are below
    ``root``; another one trains again, as a replay needs.

    Raises:
        DataError: fewer than two rows have a weight above 0.
        BaseModelError: the base model does not exist, or has none of the profile's LoRA targets.
        TrainingError: the loss is not finite.
        UserError: this release renders another version of the prompt.
    """
    if spec.prompt_version != PROMPT_VERSION:
        raise UserError(
            f"model {spec.name} needs prompt version {spec.prompt_version!r}; this release renders {PROMPT_VERSION!r}"
        )
    job = _Job(training_set=training_set, spec=spec, profile=profile, root=root, base=resolve(lake.settings, spec.base))
    if existing := job.find(lake.store):
        log.info("adapter %s exists already", job.key[:12])
        return existing
    with process_group(job.profile, _companion, (lake.settings, job)) as group:
        _train(lake, job, group, on_step)
    trained = job.find(lake.store)
    assert trained is not None, "rank 0 writes the manifest before the processes end"
    return trained


def training_key(training_set: TrainingSet, base: BaseModel, spec: ModelSpec, profile: TrainingProfile) -> str:
    """32 hex digits over everything that the weights depend on, except the machine."""
    parts = {
        "training_set": training_set.training_set_id,
        "base": base.digest,
        "spec": {name: value for name, value in asdict(spec).items() if name != "base"},
        "parameters": profile.training_parameters(),
        "code": code_digest(*TRAINING_CODE),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def read_manifest(store: ObjectStore, path: str) -> dict[str, Any]:
    """``training.json`` of the adapter at ``path``: losses of every step, parameters, machine."""
    manifest: dict[str, Any] = json.loads(store.read(f"{path.rstrip('/')}/{MANIFEST}"))
    return manifest


@dataclass(frozen=True, kw_only=True, slots=True)
class _Job:
    """The inputs of a training, as every process of it gets them."""

    training_set: TrainingSet
    spec: ModelSpec
    profile: TrainingProfile
    root: str
    base: BaseModel

    @property
    def key(self) -> str:
        return training_key(self.training_set, self.base, self.spec, self.profile)

    @property
    def path(self) -> str:
        """Folder of the adapter in the store."""
        return f"{self.root}/adapters/{self.key}"

    def find(self, store: ObjectStore) -> TrainedAdapter | None:
        """The finished adapter."""
        if not store.exists(f"{self.path}/{MANIFEST}"):
            return None
        manifest = read_manifest(store, self.path)
        return TrainedAdapter(
            model=self.training_set.model,
            training_key=self.key,
            training_set=self.training_set,
            path=self.path,
            digest=manifest["adapter_digest"],
            base_digest=manifest["base_digest"],
            steps=manifest["steps"],
            train_loss=manifest["train_loss"],
            tokens=manifest["tokens"],
        )


def _companion(rank: int, world: int, rendezvous: str, settings: Settings, job: _Job) -> None:
    """Train in a process other than rank 0."""
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
            _store(lake.store, job.path, files, report)
            checkpoints.clear()
        group.wait()


@dataclass(frozen=True, kw_only=True, slots=True)
class Fitted:
    """The result of a training in this process."""

    model: "PeftModel"
    tokenizer: "PreTrainedTokenizerBase"
    examples: TokenizedExamples
    progress: Progress
    """With the loss of every step."""


def fit(
    rows: pa.Table,
    base: BaseModel,
    profile: TrainingProfile,
    checkpoints: Checkpoints,
    *,
    group: ProcessGroup,
    on_step: OnStep | None = None,
) -> Fitted:
    """Train on these rows in this process; call it under ``models.llm.distributed.repeatable``."""
    model, tokenizer = load(base, dtype_of(profile, group.device), group.device)
    examples = training_examples(rows, tokenizer, profile.max_tokens)
    if len(examples) < 2:
        raise DataError(
            f"{len(examples)} of {len(rows)} training rows have a weight above 0; training needs at least 2: "
            "use more data, or check the quarantine"
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
    """Write the files, the manifest last: if it exists, all do."""
    for name, data in files.items():
        store.write(f"{path}/{name}", data)
    report |= {"adapter_digest": hashlib.sha256(files[WEIGHTS]).hexdigest()}
    store.write(f"{path}/{MANIFEST}", json.dumps(report, sort_keys=True, indent=1).encode())

"""Checkpoints of a training in the object store, from which a killed run continues to the same bytes.

``ml/checkpoints/{training_key}/step-000040/`` holds ``state.safetensors`` (the adapter's weights and AdamW's two
moments) and, written last, ``position.json`` (the step and the losses so far). There is no other state: the learning
rate, the rows of a step and the generators' seeds are functions of the step. No pickle is used.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from safetensors.torch import load, save

from errors import TamperedArtifact
from lake.store.objects import ObjectStore

STATE, POSITION = "state.safetensors", "position.json"
KEPT = 2
"""Number of checkpoints that are kept."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """The progress of a training."""

    step: int = 0
    """Number of optimizer steps done."""
    losses: tuple[float, ...] = ()
    """Loss of each step done, nats per response token."""
    tokens: int = 0
    """Non-padding tokens seen."""


@dataclass(frozen=True, kw_only=True)
class Checkpoints:
    """The checkpoints of one training on one kind of machine."""

    store: ObjectStore
    folder: str
    """``ml/checkpoints/{training_key}``."""
    fingerprint: Mapping[str, Any]
    """What equal bytes depend on; a checkpoint with another fingerprint is not used."""

    def save(self, progress: Progress, state: Mapping[str, torch.Tensor]) -> None:
        """Store a checkpoint, then delete all but the last two."""
        folder = f"{self.folder}/step-{progress.step:06d}"
        data = save({name: tensor.contiguous() for name, tensor in state.items()})
        self.store.write(f"{folder}/{STATE}", data)
        position = {
            "step": progress.step,
            "losses": list(progress.losses),
            "tokens": progress.tokens,
            "sha256": hashlib.sha256(data).hexdigest(),
            "fingerprint": dict(self.fingerprint),
        }
        self.store.write(f"{folder}/{POSITION}", json.dumps(position, sort_keys=True).encode())
        for old in self._complete()[:-KEPT]:
            self.store.delete(f"{old}/{POSITION}")  # first, so that no incomplete checkpoint looks complete
            self.store.delete(f"{old}/{STATE}")

    def latest(self) -> tuple[Progress, dict[str, torch.Tensor]] | None:
        """The newest complete checkpoint with this fingerprint. Raises ``TamperedArtifact`` where it was changed."""
        for folder in reversed(self._complete()):
            position = json.loads(self.store.read(f"{folder}/{POSITION}"))
            if position["fingerprint"] != dict(self.fingerprint):
                continue
            data = self.store.read(f"{folder}/{STATE}")
            if hashlib.sha256(data).hexdigest() != position["sha256"]:
                raise TamperedArtifact(
                    f"{folder}/{STATE} was changed; delete {folder} to resume from an earlier checkpoint"
                )
            progress = Progress(step=position["step"], losses=tuple(position["losses"]), tokens=position["tokens"])
            return progress, load(data)
        return None

    def clear(self) -> None:
        """Delete all: the training is done."""
        for key in list(self.store.list(f"{self.folder}/")):
            self.store.delete(key)

    def _complete(self) -> list[str]:
        """Folders of complete checkpoints, by step."""
        return [key.rpartition("/")[0] for key in self.store.list(f"{self.folder}/") if key.endswith(f"/{POSITION}")]

"""Replay: train a registered version again from its manifest and compare, byte for byte.

The same inputs on the same kind of machine give the same weights. Where they do not, the first training step whose
loss differs says where the two trainings parted, and what differs between the machines says why it may be.
"""

import secrets
from dataclasses import dataclass, replace
from typing import Any

from lake.lake import Lake
from models.registry.manifest import Manifest
from models.registry.registry import load_version
from models.types import TrainedAdapter


@dataclass(frozen=True, kw_only=True, slots=True)
class Replay:
    """What a second training of a version came to."""

    version: str
    equal: bool
    """Whether the weights are the registered ones, byte for byte."""
    registered: str
    """sha256 of the weights file."""
    replayed: str
    steps: int
    """Steps of the replay."""
    first_difference: int = 0
    """First step (counting from 1) whose loss differs; 0: no step's does."""
    registered_loss: float | None = None
    """Loss of that step, nats a response token; None where that training had ended before it."""
    replayed_loss: float | None = None
    differences: dict[str, str]
    """What the bytes depend on and was another thing this time: ``then -> now`` by name."""


def replay(lake: Lake, name: str) -> Replay:
    """Train ``name`` (``agents@v3``) again, with its recorded threads and processes, in a scratch folder of the store.

    Raises:
        UnknownName: no such version.
        TamperedArtifact: a file of the version is not what was registered.
        BaseModelError: the base model is not there.
        UserError: this release renders another prompt version.
    """
    from models.training.train import read_manifest, train

    manifest = load_version(lake, name)
    recorded = read_manifest(lake.store, manifest.version.path)
    machine = recorded["machine"]
    profile = replace(manifest.profile, threads=machine["threads"], processes=machine["processes"])
    scratch = f"scratch/replays/{secrets.token_hex(8)}"
    try:
        again = train(lake, manifest.evaluation.adapter.training_set, manifest.spec, profile, root=scratch)
        return _compared(manifest, recorded, again, read_manifest(lake.store, again.path))
    finally:
        for key in list(lake.store.list(f"{scratch}/")):
            lake.store.delete(key)


def _compared(manifest: Manifest, recorded: dict[str, Any], again: TrainedAdapter, replayed: dict[str, Any]) -> Replay:
    then, now = recorded["losses"], replayed["losses"]
    step = next((i for i in range(max(len(then), len(now))) if then[i : i + 1] != now[i : i + 1]), -1)
    return Replay(
        version=manifest.version.name,
        equal=again.digest == manifest.version.digest,
        registered=manifest.version.digest,
        replayed=again.digest,
        steps=again.steps,
        first_difference=step + 1,
        registered_loss=then[step] if 0 <= step < len(then) else None,
        replayed_loss=now[step] if 0 <= step < len(now) else None,
        differences=_differences(recorded, replayed),
    )


def _differences(recorded: dict[str, Any], replayed: dict[str, Any]) -> dict[str, str]:
    """By name: the machine, the training code, the base model, and the parameters that the manifest gave."""
    then, now = (
        {"code": one["code"], "base": one["base_digest"]} | one["machine"] | _parameters(one["profile"])
        for one in (recorded, replayed)
    )
    names = [name for name in {**then, **now} if then.get(name) != now.get(name)]
    return {name: f"{then.get(name)} -> {now.get(name)}" for name in names}


def _parameters(profile: dict[str, Any]) -> dict[str, Any]:
    """The recorded hyperparameters; threads and processes stand among the machine's."""
    return {f"profile.{name}": value for name, value in profile.items() if name not in ("threads", "processes")}

"""Replay: train a registered version again from its manifest, and compare the weights byte for byte.

The same inputs on the same kind of machine give the same weights. Where they do not, the first training step with
another loss shows where the two trainings diverged, and the differences between the machines suggest why.
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
    """The result of a second training of a version."""

    version: str
    equal: bool
    """Whether the weights are equal to the registered ones, byte for byte."""
    registered: str
    """sha256 of the registered weights file."""
    replayed: str
    """sha256 of the new weights file."""
    steps: int
    """Of the replay."""
    first_difference: int = 0
    """First step (from 1) with another loss; 0: all are equal."""
    registered_loss: float | None = None
    """Its loss in the registered training, nats per response token; None if that had fewer steps."""
    replayed_loss: float | None = None
    """Its loss in the replay; None if that had fewer steps."""
    differences: dict[str, str]
    """What the bytes depend on and was different this time: ``then -> now`` by name."""


def replay(lake: Lake, name: str) -> Replay:
    """Train ``name`` (``agents@v3``) again, with its recorded threads and processes, in a scratch folder of the store.

    Raises ``TamperedArtifact`` where a file of the version is not what was registered, and the errors of ``train``.
    """
    from models.training.train import read_manifest, train

    manifest = load_version(lake, name)
    recorded = read_manifest(lake.store, manifest.version.path)
    machine = recorded["machine"]
    profile = replace(manifest.profile, threads=machine["threads"], processes=machine["processes"])
    scratch = f"scratch/replays/{secrets.token_hex(8)}"
    try:
        replayed = train(lake, manifest.evaluation.adapter.training_set, manifest.spec, profile, root=scratch)
        return _compare(manifest, recorded, replayed, read_manifest(lake.store, replayed.path))
    finally:
        for key in list(lake.store.list(f"{scratch}/")):
            lake.store.delete(key)


def _compare(manifest: Manifest, recorded: dict[str, Any], adapter: TrainedAdapter, record: dict[str, Any]) -> Replay:
    then, now = recorded["losses"], record["losses"]
    step = next((i for i in range(max(len(then), len(now))) if then[i : i + 1] != now[i : i + 1]), -1)
    return Replay(
        version=manifest.version.name,
        equal=adapter.digest == manifest.version.digest,
        registered=manifest.version.digest,
        replayed=adapter.digest,
        steps=adapter.steps,
        first_difference=step + 1,
        registered_loss=then[step] if 0 <= step < len(then) else None,
        replayed_loss=now[step] if 0 <= step < len(now) else None,
        differences=_differences(recorded, record),
    )


def _differences(recorded: dict[str, Any], replayed: dict[str, Any]) -> dict[str, str]:
    """What differs of the training code, the base model, the machine (with threads and processes) and the profile."""
    with_machine = ("threads", "processes")
    then, now = (
        {"code": record["code"], "base": record["base_digest"], **record["machine"]}
        | {f"profile.{name}": value for name, value in record["profile"].items() if name not in with_machine}
        for record in (recorded, replayed)
    )
    names = [name for name in {**then, **now} if then.get(name) != now.get(name)]
    return {name: f"{then.get(name)} -> {now.get(name)}" for name in names}

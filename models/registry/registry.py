"""The model registry: one immutable folder per version, the manifest written last, and the ledger entry that makes it
visible.

A version's number is claimed with a conditional create and belongs to one training for ever: concurrent registrations
get different numbers, and one that died half way finds its number again. All that it writes is a function of its
inputs, so a rerun writes the same bytes. Readers do not see a version before its ledger entry ``registered``.
"""

import contextlib
import hashlib
import json
import logging
import re
from datetime import datetime
from pathlib import Path
from typing import Any

from errors import ObjectExists, ObjectMissing, TamperedArtifact, UnknownName, UserError
from lake.lake import Lake
from lake.store.ledger import Entry, Ledger
from lake.store.objects import ObjectStore
from models.llm.lora import CONFIG, WEIGHTS
from models.llm.probe import PROBE, Probe
from models.registry import kinds
from models.registry.fold import read_state
from models.registry.manifest import Manifest, render_card
from models.serialize import from_plain, to_plain
from models.spec import ModelSpec, TrainingProfile
from models.types import BASE, UNKNOWN_CAUSE, Cause, Evaluation, Judgement, ModelVersion, Outcome, Verdict

log = logging.getLogger("fuelline.registry")

TRAINING, CARD, MANIFEST = "training.json", "README.md", "manifest.json"


def register(
    lake: Lake, evaluation: Evaluation, spec: ModelSpec, profile: TrainingProfile, cause: Cause = UNKNOWN_CAUSE
) -> ModelVersion:
    """Register a candidate that was shown better as a version. Repeated for the same training, it returns that version.

    Raises ``UserError`` where the candidate was not shown better, and ``TamperedArtifact`` where the adapter's weights
    are not those that were evaluated.
    """
    adapter, chain = evaluation.adapter, kinds.model_chain(evaluation.model)
    key = f"registered:{adapter.training_key}"
    if evaluation.judgement is not Judgement.BETTER:
        raise UserError(
            f"the candidate of training {adapter.training_key} is not registered: it was judged "
            f"{evaluation.judgement.value} against {evaluation.baseline}; only a better one is registered"
        )
    if known := lake.ledger.find(chain, key):
        return registered_version(known)
    number = _claim(lake.store, evaluation.model, adapter.training_key)
    version = ModelVersion(
        model=evaluation.model,
        version=number,
        path=f"ml/models/{evaluation.model}/v{number}",
        digest=adapter.digest,
    )
    digest = _write_folder(lake.store, version, evaluation, spec, profile, cause)
    for table in [*adapter.training_set.inputs, adapter.training_set.table]:
        lake.tables.tag(table, f"{version.model}-v{number}")
    entry = lake.ledger.append(chain, kinds.REGISTERED, key, _registered(version, evaluation, digest))
    log.info("registered %s", version.name)
    return registered_version(entry)


def decline(lake: Lake, evaluation: Evaluation) -> Verdict:
    """Record that a candidate is not registered, and why; this ends its retraining."""
    overall, judgement = evaluation.overall, evaluation.judgement.value.replace("_", " ")
    reason = (
        f"{judgement} against {evaluation.baseline}: {overall.difference:+.4f} nats per token, "
        f"interval {overall.low:+.4f} to {overall.high:+.4f}, on {overall.rows} rows of {overall.users} users"
    )
    payload = {
        "training_key": evaluation.adapter.training_key,
        "judgement": evaluation.judgement.value,
        "baseline": evaluation.baseline,
        "reason": reason,
    }
    key = f"not_registered:{evaluation.adapter.training_key}:{evaluation.baseline}"
    entry = lake.ledger.append(kinds.model_chain(evaluation.model), kinds.NOT_REGISTERED, key, payload)
    return Verdict(model=evaluation.model, outcome=Outcome.NOT_REGISTERED, version=0, reason=reason, entry=entry.digest)


def production(ledger: Ledger, model: str, at: datetime | None = None) -> ModelVersion | None:
    """The version in production as of ``at`` (default: now); None: the base model."""
    return read_state(ledger, model, at).production


def find_version(ledger: Ledger, name: str) -> ModelVersion:
    """The registered version with this name, such as ``agents@v3``. Raises ``UnknownName`` with similar names."""
    return registered_version(registered_entry(ledger, name))


def find_baseline(ledger: Ledger, name: str) -> ModelVersion | None:
    """The version that a candidate has to beat, by its name in ``Pinned.baseline``; None for ``base``."""
    return None if name == BASE else find_version(ledger, name)


def load_version(lake: Lake, name: str) -> Manifest:
    """Verify every file of a version (the manifest by the ledger, the others by the manifest); return the manifest.

    Raises ``TamperedArtifact`` where a file is missing or was changed.
    """
    manifest = load_manifest(lake, name)
    for file, digest in manifest.files.items():
        _verified(lake.store, manifest.version.path, file, digest)
    return manifest


def load_manifest(lake: Lake, name: str) -> Manifest:
    """The manifest alone, verified by the ledger; for callers that do not use the files."""
    entry = registered_entry(lake.ledger, name)
    data = _verified(lake.store, str(entry.payload["path"]), MANIFEST, str(entry.payload["manifest"]))
    return from_plain(Manifest, json.loads(data))


def fetch_adapter(lake: Lake, version: ModelVersion, folder: Path) -> Path:
    """Write a version's verified weights and configuration into a local folder, as peft and vLLM take them."""
    manifest = load_version(lake, version.name)
    folder.mkdir(parents=True, exist_ok=True)
    for file in (WEIGHTS, CONFIG):
        (folder / file).write_bytes(_verified(lake.store, version.path, file, manifest.files[file]))
    return folder


def read_probe(lake: Lake, version: ModelVersion) -> Probe | None:
    """The probe taken at the end of the training, verified; None for versions of releases without probes."""
    manifest = load_manifest(lake, version.name)
    if PROBE not in manifest.files:
        return None
    return Probe.decode(_verified(lake.store, version.path, PROBE, manifest.files[PROBE]))


def _claim(store: ObjectStore, model: str, training_key: str) -> int:
    """The number of this training: the one that it claimed before, or the first free one.

    Claims are read from 1 upwards, and a new one is made only where all below belong to others, so two registrations
    of one training cannot hold two numbers.
    """
    number = 1
    while _claimed_by(store, f"ml/models/{model}/claims/{number:06d}.json", training_key) != training_key:
        number += 1
    return number


def _claimed_by(store: ObjectStore, key: str, training_key: str) -> str:
    """The training that has a number; a free number is claimed for this one."""
    if not store.exists(key):
        with contextlib.suppress(ObjectExists):  # another training's, or our own after a lost reply
            store.create(key, json.dumps({"training_key": training_key}).encode())
    return str(json.loads(store.read(key))["training_key"])


def _write_folder(
    store: ObjectStore,
    version: ModelVersion,
    evaluation: Evaluation,
    spec: ModelSpec,
    profile: TrainingProfile,
    cause: Cause,
) -> str:
    """Write every file, the manifest last; return the manifest's sha256."""
    files = {name: store.read(f"{evaluation.adapter.path}/{name}") for name in (WEIGHTS, CONFIG, TRAINING)}
    if store.exists(probe := f"{evaluation.adapter.path}/{PROBE}"):  # releases before the probe trained without one
        files[PROBE] = store.read(probe)
    if _sha256(files[WEIGHTS]) != version.digest:
        raise TamperedArtifact(f"{evaluation.adapter.path}/{WEIGHTS} is not what was trained and evaluated")
    machine = {name: str(value) for name, value in json.loads(files[TRAINING])["machine"].items()}
    manifest = Manifest(
        version=version, evaluation=evaluation, spec=spec, profile=profile, machine=machine, files={}, cause=cause
    )
    files[CARD] = render_card(manifest).encode()
    digests = {name: _sha256(data) for name, data in sorted(files.items())}
    plain = to_plain(manifest) | {"files": digests}
    data = json.dumps(plain, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False).encode()
    for name, content in (*files.items(), (MANIFEST, data)):
        store.write(f"{version.path}/{name}", content)
    return _sha256(data)


def _registered(version: ModelVersion, evaluation: Evaluation, manifest: str) -> dict[str, Any]:
    data = evaluation.adapter.training_set
    return {
        "version": version.version,
        "digest": version.digest,
        "adapter_name": version.adapter_name,
        "path": version.path,
        "manifest": manifest,
        "training_key": evaluation.adapter.training_key,
        "cut": data.cut.isoformat(),
        "inputs": [str(table) for table in [*data.inputs, data.table]],
        "baseline": evaluation.baseline,
        "judgement": evaluation.judgement.value,
    }


def registered_version(entry: Entry) -> ModelVersion:
    """The version that an entry ``registered`` describes."""
    fields = entry.payload
    return ModelVersion(
        model=kinds.model_of(entry), version=fields["version"], path=fields["path"], digest=fields["digest"]
    )


def registered_entry(ledger: Ledger, name: str) -> Entry:
    """The ``registered`` entry of a version's name."""
    chain = kinds.model_chain(name.partition("@")[0])
    known = {kinds.version_name(entry): entry for entry in ledger.entries(chain, kind=kinds.REGISTERED)}
    if name not in known:
        names = known or kinds.model_names(ledger)
        raise UnknownName("model version" if re.search("@v[0-9]+$", name) else "model version (MODEL@v3)", name, names)
    return known[name]


def _verified(store: ObjectStore, folder: str, file: str, digest: str) -> bytes:
    try:
        data = store.read(f"{folder}/{file}")
    except ObjectMissing:
        raise TamperedArtifact(f"{folder}/{file} is missing; restore the folder from a backup of the store") from None
    if _sha256(data) != digest:
        raise TamperedArtifact(
            f"{folder}/{file} differs from what was registered; restore it from a backup of the store"
        )
    return data


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()

"""Adapters on the disk that vLLM reads from: fetched by digest, completely or not at all, and never changed afterwards.

A folder has the name of its adapter, ``agents@3f9c2a71``, so one name always has the same content. It is written to a
temporary folder beside it, synced and renamed, so that neither vLLM nor a second writer sees an incomplete one.
"""

import hashlib
import shutil
import tempfile
from pathlib import Path

from errors import TamperedArtifact
from lake.lake import Lake
from lake.store.folder import sync_to_disk
from models.llm.lora import CONFIG, WEIGHTS
from models.registry.registry import fetch_adapter, load_manifest
from models.types import ModelVersion


def ensure_adapter(lake: Lake, version: ModelVersion, folder: Path) -> Path:
    """The folder of the version's adapter under ``folder``: verified if it exists, else fetched from the registry.

    Raises ``TamperedArtifact`` where a file, in the registry or in the folder, differs from the registered one.
    """
    target = folder.absolute() / version.adapter_name
    if target.is_dir():
        _verify(lake, version, target)
    else:
        _fetch(lake, version, target)
    return target


def _fetch(lake: Lake, version: ModelVersion, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}-"))
    try:
        fetch_adapter(lake, version, temporary)
        for path in (*temporary.iterdir(), temporary):
            sync_to_disk(path)
        temporary.chmod(0o755)  # created for its owner only, but vLLM may run as another user
        temporary.rename(target)
    except OSError:
        if not target.is_dir():  # otherwise another writer was first, with the same content
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _verify(lake: Lake, version: ModelVersion, target: Path) -> None:
    manifest = load_manifest(lake, version.name)
    for name in (WEIGHTS, CONFIG):
        path = target / name
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != manifest.files[name]:
            raise TamperedArtifact(f"{path} is not what {version.name} was registered with; remove {target}")

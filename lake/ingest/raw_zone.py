"""The raw zone: source objects with their bytes unchanged, under ``raw/<data set's source>/<source>/<day>/``.

The first folder comes from the contract, because the data set decides how long its objects stay (``retention_days``).
"""

import contextlib
import hashlib
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from lake.ingest.files import extension
from lake.lake import Lake
from lake.store.ledger import Entry

COPY_BYTES = 8 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class LandedObject:
    """An object of the raw zone."""

    object: str
    sha256: str
    at: datetime


@contextlib.contextmanager
def stable_copy(path: Path) -> Iterator[tuple[Path, str]]:
    """A copy of a file and its sha256, because an agent may append to its log while it is read.

    One thread copies while another computes the digest.
    """
    digest = hashlib.sha256()
    with tempfile.TemporaryDirectory(prefix="fuelline-") as folder:
        copy = Path(folder, f"log{extension(path)}")
        with path.open("rb") as source, copy.open("wb") as target, ThreadPoolExecutor(1) as hashing:
            hashed = hashing.submit(digest.update, b"")
            while chunk := source.read(COPY_BYTES):
                hashed.result()  # no more than two chunks in memory
                hashed = hashing.submit(digest.update, chunk)
                target.write(chunk)
        yield copy, digest.hexdigest()


@dataclass(frozen=True)
class RawZone:
    """The objects of one source that belong to one group of data sets."""

    lake: Lake
    group: str
    """The first folder, see ``Contract.source``; it decides how long the objects stay."""
    source: str
    """Names the ledger chain and the second folder."""

    @property
    def chain(self) -> str:
        return f"sources/{self.source}"

    def land(self, path: Path, sha256: str) -> LandedObject:
        """Put a file with this digest into the raw zone; no process may write to it any more.

        The ledger fixes the object's name and time first, so a retry lands nothing twice.
        """
        name = self._name(sha256, extension(path))
        payload = {"object": name, "bytes": path.stat().st_size, "landed_at": self.lake.ledger.clock().isoformat()}
        landed = _landed(self.lake.ledger.append(self.chain, "landed", f"landed:{sha256}", payload))
        if not self.lake.store.exists(landed.object):
            self.lake.store.upload(landed.object, path)
        return landed

    def keep_beside(self, path: Path, suffix: str) -> str:
        """Put what a landed file was made of beside it, unchanged; return its key, which contains its digest."""
        key = self._name(sha256_of(path), suffix)
        if not self.lake.store.exists(key):
            self.lake.store.upload(key, path)
        return key

    def landed(self) -> list[LandedObject]:
        """All objects that landed here, in order; a source may feed other groups too."""
        entries = self.lake.ledger.entries(self.chain, kind="landed")
        return [landed for landed in map(_landed, entries) if landed.object.startswith(f"raw/{self.group}/")]

    def has_size_of(self, path: Path) -> bool:
        """Whether an object as long as this file has landed from the source; if none has, neither have these bytes."""
        size = path.stat().st_size
        return any(entry.payload["bytes"] == size for entry in self.lake.ledger.entries(self.chain, kind="landed"))

    def _name(self, sha256: str, suffix: str) -> str:
        """The name of an object that lands today. The two folders are one where group and source are the same."""
        folders = dict.fromkeys((self.group, self.source, self.lake.ledger.clock().date().isoformat()))
        return f"raw/{'/'.join(folders)}/{sha256[:32]}{suffix}"


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _landed(entry: Entry) -> LandedObject:
    return LandedObject(
        object=entry.payload["object"],
        sha256=entry.key.removeprefix("landed:"),
        at=datetime.fromisoformat(entry.payload["landed_at"]),
    )

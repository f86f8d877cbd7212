"""The object store's interface: ten operations over a folder or S3. The ledger and the leases rely on the two
conditional ones, ``create`` and ``replace``.

Nothing else in the project calls S3 directly. A key is a relative path with slashes. Every write is atomic: a reader
sees the whole object or none, and a killed writer leaves nothing under the key. An object's *etag* identifies one
state of it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

SCRATCH = ".scratch"
"""Folder of temporary files in a folder store: no key may contain it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectInfo:
    """One object in a listing."""

    key: str
    modified: datetime
    """When it was last written (UTC), by the store's clock."""
    size: int
    """Bytes."""


class ObjectStore(Protocol):
    """What the project needs of a store. ``address`` is its root: a folder or ``s3://bucket/prefix``."""

    address: str

    def read(self, key: str) -> bytes:
        """Return the object. Raises ``ObjectMissing``."""

    def read_versioned(self, key: str) -> tuple[bytes, str]:
        """Return the object and its etag. Raises ``ObjectMissing``."""

    def exists(self, key: str) -> bool:
        """Whether the key holds an object."""

    def write(self, key: str, data: bytes) -> None:
        """Put the object; an existing one is replaced."""

    def create(self, key: str, data: bytes) -> str:
        """Put the object if the key is free; return its etag. Raises ``ObjectExists``."""

    def replace(self, key: str, data: bytes, etag: str) -> str:
        """Put the object if it still has this etag; return the new one. Raises ``ObjectChanged``."""

    def list(self, prefix: str) -> Iterator[str]:
        """Keys that start with ``prefix``, in order."""

    def list_objects(self, prefix: str) -> Iterator[ObjectInfo]:
        """Like ``list``, with the time of the last write and the size."""

    def delete(self, key: str) -> None:
        """Remove the object; no error if there is none."""

    def upload(self, key: str, path: Path) -> None:
        """Put a local file that no process writes to any more, in bounded memory."""

    def download(self, key: str, path: Path) -> None:
        """Copy the object to a local file, in bounded memory. Raises ``ObjectMissing``."""


def require_key(key: str) -> str:
    """Return the key. Raises ``ValueError`` where it leaves the store or lies in its scratch folder."""
    if not key or {"", ".", "..", SCRATCH}.intersection(key.split("/")):
        raise ValueError(f"not a key: {key!r}")
    return key


def require_prefix(prefix: str) -> str:
    """Return the prefix, which is empty or the start of keys, if it lists only what is inside the store."""
    if prefix:
        require_key(prefix.removesuffix("/"))
    return prefix

"""An object store in memory, so that years of hourly ledger entries create no files."""

import hashlib
from bisect import bisect_left
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from errors import ObjectChanged, ObjectExists, ObjectMissing
from lake.store.objects import ObjectInfo


class MemoryStore:
    """See ``ObjectStore``; for one thread."""

    address = "memory"

    def __init__(self) -> None:
        self._objects: dict[str, bytes] = {}

    def read(self, key: str) -> bytes:
        """See ``ObjectStore``."""
        if key not in self._objects:
            raise ObjectMissing(key)
        return self._objects[key]

    def read_versioned(self, key: str) -> tuple[bytes, str]:
        """See ``ObjectStore``."""
        data = self.read(key)
        return data, _etag(data)

    def exists(self, key: str) -> bool:
        """See ``ObjectStore``."""
        return key in self._objects

    def write(self, key: str, data: bytes) -> None:
        """See ``ObjectStore``."""
        self._objects[key] = data

    def create(self, key: str, data: bytes) -> str:
        """See ``ObjectStore``."""
        if key in self._objects:
            raise ObjectExists(key)
        self._objects[key] = data
        return _etag(data)

    def replace(self, key: str, data: bytes, etag: str) -> str:
        """See ``ObjectStore``."""
        if key not in self._objects or _etag(self._objects[key]) != etag:
            raise ObjectChanged(key)
        self._objects[key] = data
        return _etag(data)

    def list(self, prefix: str) -> Iterator[str]:
        """See ``ObjectStore``."""
        keys = sorted(self._objects)
        for key in keys[bisect_left(keys, prefix) :]:
            if not key.startswith(prefix):
                return
            yield key

    def list_objects(self, prefix: str) -> Iterator[ObjectInfo]:
        """See ``ObjectStore``. It keeps no times: every object has the earliest possible time."""
        for key in self.list(prefix):
            yield ObjectInfo(key=key, modified=datetime.min.replace(tzinfo=UTC), size=len(self._objects[key]))

    def delete(self, key: str) -> None:
        """See ``ObjectStore``."""
        self._objects.pop(key, None)

    def upload(self, key: str, path: Path) -> None:
        """See ``ObjectStore``."""
        self._objects[key] = path.read_bytes()

    def download(self, key: str, path: Path) -> None:
        """See ``ObjectStore``."""
        path.write_bytes(self.read(key))


def _etag(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()

"""The object store: ten verbs over a folder or S3, of which the conditional ``create`` and ``replace`` carry the
house.

Nothing else in the project speaks S3 by hand. A key is a slash-separated relative path. Every write is atomic: a
reader sees the whole object or none, and a kill leaves nothing under the key. An object's *etag* names one state of
it.
"""

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from errors import ObjectChanged, ObjectExists, ObjectMissing
from hints import wrong
from settings import Settings

SCRATCH = ".scratch"


@dataclass(frozen=True, kw_only=True, slots=True)
class Stored:
    """One object, as a listing tells of it."""

    key: str
    modified: datetime
    """When it was last written (UTC), by the store's clock."""
    size: int
    """Bytes."""


class ObjectStore(Protocol):
    """What the house asks of a store. ``address`` is its root: a folder or ``s3://bucket/prefix``."""

    address: str

    def read(self, key: str) -> bytes:
        """Return the object. Raises ``ObjectMissing``."""
        ...

    def read_versioned(self, key: str) -> tuple[bytes, str]:
        """Return the object and its etag. Raises ``ObjectMissing``."""
        ...

    def exists(self, key: str) -> bool:
        """Whether the key holds an object."""
        ...

    def write(self, key: str, data: bytes) -> None:
        """Put the object, whatever was there."""
        ...

    def create(self, key: str, data: bytes) -> str:
        """Put the object if the key is free; return its etag. Raises ``ObjectExists``."""
        ...

    def replace(self, key: str, data: bytes, etag: str) -> str:
        """Put the object if it still has this etag; return the new one. Raises ``ObjectChanged``."""
        ...

    def list(self, prefix: str) -> Iterator[str]:
        """Keys that start with ``prefix``, in order."""
        ...

    def stored(self, prefix: str) -> Iterator[Stored]:
        """Like ``list``, with age and size."""
        ...

    def delete(self, key: str) -> None:
        """Remove the object; no error if it is not there."""
        ...

    def upload(self, key: str, path: Path) -> None:
        """Put a local file that nobody writes to any more, in bounded memory."""
        ...

    def download(self, key: str, path: Path) -> None:
        """Copy the object to a local file, in bounded memory. Raises ``ObjectMissing``."""
        ...


def open_store(settings: Settings, answer_s: float | None = None) -> ObjectStore:
    """The store that the settings name; a folder is made if it is not there. For ``answer_s`` see ``open_lake``.

    Raises:
        SettingsError: ``FUELLINE_STORE`` names a bucket that is not there or may not be read.
    """
    address = settings.store_address
    if not address.startswith("s3://"):
        return FolderStore(Path(address))
    from lake.store.s3 import S3Store

    return S3Store(address, settings, answer_s)


def checked(key: str) -> str:
    """Refuse keys that would leave the store or hide in it; they come from code, so this is an invariant."""
    if not key or {"", ".", "..", SCRATCH}.intersection(key.split("/")):
        raise ValueError(f"not a key: {key!r}")
    return key


def checked_prefix(prefix: str) -> str:
    """Refuse prefixes that would list what is outside the store. Empty, or the start of keys."""
    if prefix:
        checked(prefix.removesuffix("/"))
    return prefix


class FolderStore:
    """Objects as files. ``create`` links a synced temporary file into place, so a kill never leaves half an object."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.address = str(self.root)
        self._scratch = self.root / SCRATCH
        try:
            self._scratch.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise wrong("store", f"cannot write to {self.root}: {error.strerror}") from error

    def read(self, key: str) -> bytes:
        """See ``ObjectStore``."""
        try:
            return (self.root / checked(key)).read_bytes()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            raise ObjectMissing(f"no object {key!r} in {self.address}") from None

    def read_versioned(self, key: str) -> tuple[bytes, str]:
        """See ``ObjectStore``. The etag is the content's digest, as it is on S3."""
        data = self.read(key)
        return data, hashlib.md5(data, usedforsecurity=False).hexdigest()

    def exists(self, key: str) -> bool:
        """See ``ObjectStore``."""
        return (self.root / checked(key)).is_file()

    def write(self, key: str, data: bytes) -> None:
        """See ``ObjectStore``."""
        with self._staged(data) as staged:
            self._place(staged, key)

    def create(self, key: str, data: bytes) -> str:
        """See ``ObjectStore``."""
        target = self._target(key)
        with self._staged(data) as staged:
            try:
                os.link(staged, target)
            except FileExistsError:
                raise ObjectExists(f"{key!r} is taken in {self.address}") from None
            _sync(target.parent)
        return hashlib.md5(data, usedforsecurity=False).hexdigest()

    def replace(self, key: str, data: bytes, etag: str) -> str:
        """See ``ObjectStore``. One advisory lock a store makes the check and the rename one step; a kill drops it."""
        with self._lock():
            if not self.exists(key) or self.read_versioned(key)[1] != etag:
                raise ObjectChanged(f"{key!r} is no longer at {etag} in {self.address}")
            self.write(key, data)
        return hashlib.md5(data, usedforsecurity=False).hexdigest()

    def list(self, prefix: str) -> Iterator[str]:
        """See ``ObjectStore``."""
        top = self.root / checked_prefix(prefix).rpartition("/")[0]
        found = (Path(folder, name) for folder, _, names in os.walk(top) for name in names)
        keys = (path.relative_to(self.root).as_posix() for path in found if SCRATCH not in path.parts)
        yield from sorted(key for key in keys if key.startswith(prefix))

    def stored(self, prefix: str) -> Iterator[Stored]:
        """See ``ObjectStore``. What is deleted meanwhile is left out."""
        for key in self.list(prefix):
            with contextlib.suppress(FileNotFoundError):
                found = (self.root / key).stat()
                yield Stored(key=key, modified=datetime.fromtimestamp(found.st_mtime, UTC), size=found.st_size)

    def delete(self, key: str) -> None:
        """See ``ObjectStore``."""
        (self.root / checked(key)).unlink(missing_ok=True)

    def upload(self, key: str, path: Path) -> None:
        """See ``ObjectStore``. Within one file system the file itself takes the key as a further name."""
        with tempfile.TemporaryDirectory(dir=self._scratch) as folder:
            staged = Path(folder, "object")
            try:
                os.link(path, staged)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                shutil.copyfile(path, staged)
            staged.chmod(0o600)  # as all objects are
            _sync(staged)
            self._place(staged, key)

    def download(self, key: str, path: Path) -> None:
        """See ``ObjectStore``."""
        if not self.exists(key):
            raise ObjectMissing(f"no object {key!r} in {self.address}")
        shutil.copyfile(self.root / checked(key), path)

    def _target(self, key: str) -> Path:
        target = self.root / checked(key)
        target.parent.mkdir(parents=True, exist_ok=True)
        return target

    def _place(self, staged: Path, key: str) -> None:
        target = self._target(key)
        staged.replace(target)
        _sync(target.parent)

    @contextlib.contextmanager
    def _staged(self, data: bytes) -> Iterator[Path]:
        """A synced temporary file with these contents, gone afterwards unless it was moved into place."""
        handle, name = tempfile.mkstemp(dir=self._scratch)
        staged = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            yield staged
        finally:
            staged.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        with (self._scratch / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _sync(path: Path) -> None:
    """Make a file, or the names in a folder, survive a power cut, where the file system knows how."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(handle)

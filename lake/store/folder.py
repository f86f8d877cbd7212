"""The object store in a folder of a local or shared file system."""

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from errors import ObjectChanged, ObjectExists, ObjectMissing
from hints import invalid_setting
from lake.store.objects import SCRATCH, ObjectInfo, require_key, require_prefix


class FolderStore:
    """Objects as files.

    ``create`` links a synced temporary file into place, so that a killed writer leaves no partial object.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.address = str(self.root)
        self._scratch = self.root / SCRATCH
        try:
            self._scratch.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise invalid_setting("store", f"cannot write to {self.root}: {error.strerror}") from error

    def read(self, key: str) -> bytes:
        try:
            return (self.root / require_key(key)).read_bytes()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            raise ObjectMissing(f"no object {key!r} in {self.address}") from None

    def read_versioned(self, key: str) -> tuple[bytes, str]:
        data = self.read(key)
        return data, _etag(data)

    def exists(self, key: str) -> bool:
        return (self.root / require_key(key)).is_file()

    def write(self, key: str, data: bytes) -> None:
        with self._staged(data) as staged:
            self._place(staged, key)

    def create(self, key: str, data: bytes) -> str:
        target = self._target(key)
        with self._staged(data) as staged:
            try:
                os.link(staged, target)
            except FileExistsError:
                raise ObjectExists(f"{key!r} is taken in {self.address}") from None
            sync_to_disk(target.parent)
        return _etag(data)

    def replace(self, key: str, data: bytes, etag: str) -> str:
        with (self._scratch / "lock").open("w") as lock:
            # One advisory lock per store makes the check and the rename one step. The kernel releases it when the
            # process dies.
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not self.exists(key) or self.read_versioned(key)[1] != etag:
                raise ObjectChanged(f"{key!r} is no longer at {etag} in {self.address}")
            self.write(key, data)
        return _etag(data)

    def list(self, prefix: str) -> Iterator[str]:
        top = self.root / require_prefix(prefix).rpartition("/")[0]
        found = (Path(folder, name) for folder, _, names in os.walk(top) for name in names)
        keys = (path.relative_to(self.root).as_posix() for path in found if SCRATCH not in path.parts)
        yield from sorted(key for key in keys if key.startswith(prefix))

    def list_objects(self, prefix: str) -> Iterator[ObjectInfo]:
        for key in self.list(prefix):
            with contextlib.suppress(FileNotFoundError):  # it was deleted meanwhile
                found = (self.root / key).stat()
                yield ObjectInfo(key=key, modified=datetime.fromtimestamp(found.st_mtime, UTC), size=found.st_size)

    def delete(self, key: str) -> None:
        (self.root / require_key(key)).unlink(missing_ok=True)

    def upload(self, key: str, path: Path) -> None:
        """Within one file system the object is a hard link to the file, not a copy."""
        with tempfile.TemporaryDirectory(dir=self._scratch) as folder:
            staged = Path(folder, "object")
            try:
                os.link(path, staged)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                shutil.copyfile(path, staged)
            staged.chmod(0o600)  # as all objects are
            sync_to_disk(staged)
            self._place(staged, key)

    def download(self, key: str, path: Path) -> None:
        if not self.exists(key):
            raise ObjectMissing(f"no object {key!r} in {self.address}")
        shutil.copyfile(self.root / require_key(key), path)

    def _target(self, key: str) -> Path:
        target = self.root / require_key(key)
        target.parent.mkdir(parents=True, exist_ok=True)
        return target

    def _place(self, staged: Path, key: str) -> None:
        target = self._target(key)
        staged.replace(target)
        sync_to_disk(target.parent)

    @contextlib.contextmanager
    def _staged(self, data: bytes) -> Iterator[Path]:
        """A synced temporary file with these contents, removed afterwards unless it was moved into place."""
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


def _etag(data: bytes) -> str:
    """The content's digest, as it is on S3."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def sync_to_disk(path: Path) -> None:
    """Write a file, or the names in a folder, to the disk, so that a power cut loses nothing."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # the answer of a file system that cannot sync a folder
            raise
    finally:
        os.close(handle)

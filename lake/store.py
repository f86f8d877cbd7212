"""The object store, over a folder or S3: seven verbs, of which the conditional ``create`` and ``replace`` carry the house.

Nothing else in the project speaks S3 by hand. A key is a slash-separated relative path. Every write is atomic: a reader
sees the whole object or none, and a kill leaves nothing under the key. An object's *etag* names one state of it.
"""

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from errors import ObjectChanged, ObjectExists, ObjectMissing, PeerError, SettingsError
from settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

COPY_BYTES = 8 << 20
SCRATCH = ".scratch"


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

    def delete(self, key: str) -> None:
        """Remove the object; no error if it is not there."""
        ...

    def upload(self, key: str, path: Path) -> None:
        """Put a local file, in bounded memory."""
        ...

    def download(self, key: str, path: Path) -> None:
        """Copy the object to a local file, in bounded memory. Raises ``ObjectMissing``."""
        ...


def open_store(settings: Settings) -> ObjectStore:
    """The store that the settings name; a folder is made if it is not there.

    Raises:
        SettingsError: ``FUELLINE_STORE`` names a bucket that is not there or may not be read.
    """
    address = settings.store_address
    return S3Store(address, settings) if address.startswith("s3://") else FolderStore(Path(address))


def _checked(key: str) -> str:
    """Refuse keys that would leave the store or hide in it; they come from code, so this is an invariant."""
    parts = key.split("/")
    if key.startswith("/") or SCRATCH in parts or any(part in ("", ".", "..") for part in parts):
        raise ValueError(f"not a key: {key!r}")
    return key


class FolderStore:
    """Objects as files. ``create`` links a synced temporary file into place, so a kill never leaves half an object."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.address = str(self.root)
        self._scratch = self.root / SCRATCH
        try:
            self._scratch.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SettingsError(f"FUELLINE_STORE: cannot write to {self.root}: {error.strerror}") from error

    def read(self, key: str) -> bytes:
        """See ``ObjectStore``."""
        try:
            return (self.root / _checked(key)).read_bytes()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            raise ObjectMissing(f"no object {key!r} in {self.address}") from None

    def read_versioned(self, key: str) -> tuple[bytes, str]:
        """See ``ObjectStore``. The etag is the content's digest, as it is on S3."""
        data = self.read(key)
        return data, hashlib.md5(data, usedforsecurity=False).hexdigest()

    def exists(self, key: str) -> bool:
        """See ``ObjectStore``."""
        return (self.root / _checked(key)).is_file()

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
            _sync_folder(target.parent)
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
        top = self.root / prefix if prefix.endswith("/") else (self.root / prefix).parent
        found = (Path(folder, name) for folder, _, names in os.walk(top) for name in names)
        keys = (path.relative_to(self.root).as_posix() for path in found if SCRATCH not in path.parts)
        yield from sorted(key for key in keys if key.startswith(prefix))

    def delete(self, key: str) -> None:
        """See ``ObjectStore``."""
        (self.root / _checked(key)).unlink(missing_ok=True)

    def upload(self, key: str, path: Path) -> None:
        """See ``ObjectStore``."""
        with self._staged(path) as staged:
            self._place(staged, key)

    def download(self, key: str, path: Path) -> None:
        """See ``ObjectStore``."""
        if not self.exists(key):
            raise ObjectMissing(f"no object {key!r} in {self.address}")
        shutil.copyfile(self.root / key, path)

    def _target(self, key: str) -> Path:
        target = self.root / _checked(key)
        target.parent.mkdir(parents=True, exist_ok=True)
        return target

    def _place(self, staged: Path, key: str) -> None:
        target = self._target(key)
        staged.replace(target)
        _sync_folder(target.parent)

    @contextlib.contextmanager
    def _staged(self, source: bytes | Path) -> Iterator[Path]:
        """A synced temporary file with these contents, gone afterwards unless it was moved into place."""
        handle, name = tempfile.mkstemp(dir=self._scratch)
        staged = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                if isinstance(source, Path):
                    with source.open("rb") as original:
                        shutil.copyfileobj(original, file, COPY_BYTES)
                else:
                    file.write(source)
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


def _sync_folder(folder: Path) -> None:
    """Make a new name in a folder survive a power cut, where the file system knows how."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(handle)


class S3Store:
    """Objects in a bucket of any S3 service that honours ``If-None-Match`` and ``If-Match`` on a put (MinIO does).

    A lost reply makes botocore send a put again, and then the winner of a ``create`` is told that it lost: whoever needs
    to know carries a nonce in the data and reads it back, as the ledger does.
    """

    def __init__(self, address: str, settings: Settings) -> None:
        self.address = address.rstrip("/")
        self.bucket, _, prefix = self.address.removeprefix("s3://").partition("/")
        self.prefix = prefix + "/" if prefix else ""
        self.client = _s3_client(settings)
        self._check_bucket()

    def read(self, key: str) -> bytes:
        """See ``ObjectStore``."""
        return self.read_versioned(key)[0]

    def read_versioned(self, key: str) -> tuple[bytes, str]:
        """See ``ObjectStore``."""
        with self._answers(key):
            answer = self.client.get_object(**self._at(key))
            return answer["Body"].read(), answer["ETag"]

    def exists(self, key: str) -> bool:
        """See ``ObjectStore``."""
        try:
            with self._answers(key):
                self.client.head_object(**self._at(key))
        except ObjectMissing:
            return False
        return True

    def write(self, key: str, data: bytes) -> None:
        """See ``ObjectStore``."""
        with self._answers(key):
            self.client.put_object(**self._at(key), Body=data)

    def create(self, key: str, data: bytes) -> str:
        """See ``ObjectStore``."""
        with self._answers(key, precondition=ObjectExists):
            return self.client.put_object(**self._at(key), Body=data, IfNoneMatch="*")["ETag"]

    def replace(self, key: str, data: bytes, etag: str) -> str:
        """See ``ObjectStore``."""
        try:
            with self._answers(key, precondition=ObjectChanged):
                return self.client.put_object(**self._at(key), Body=data, IfMatch=etag)["ETag"]
        except ObjectMissing as error:
            raise ObjectChanged(str(error)) from error

    def list(self, prefix: str) -> Iterator[str]:
        """See ``ObjectStore``."""
        with self._answers(prefix):
            pages = self.client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=self.prefix + prefix
            )
            for page in pages:
                for item in page.get("Contents", []):
                    yield item["Key"].removeprefix(self.prefix)

    def delete(self, key: str) -> None:
        """See ``ObjectStore``."""
        with self._answers(key):
            self.client.delete_object(**self._at(key))

    def upload(self, key: str, path: Path) -> None:
        """See ``ObjectStore``."""
        with self._answers(key):
            self.client.upload_file(str(path), self.bucket, self.prefix + _checked(key))

    def download(self, key: str, path: Path) -> None:
        """See ``ObjectStore``."""
        with self._answers(key):
            self.client.download_file(self.bucket, self.prefix + _checked(key), str(path))

    def _at(self, key: str) -> dict[str, Any]:
        return {"Bucket": self.bucket, "Key": self.prefix + _checked(key)}

    def _check_bucket(self) -> None:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            self.client.head_bucket(Bucket=self.bucket)
        except (ClientError, BotoCoreError) as error:
            raise SettingsError(
                f"FUELLINE_STORE: bucket {self.bucket!r} cannot be reached ({_reason(error)}). Check the bucket's name, "
                "FUELLINE_S3_ENDPOINT (for example http://minio.forge.svc:9000) and the credentials"
            ) from error

    @contextlib.contextmanager
    def _answers(self, key: str, precondition: type[PeerError] = ObjectChanged) -> Iterator[None]:
        """Turn S3's answers into the store's own errors."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except (ClientError, BotoCoreError) as error:
            reason = _reason(error)
            where = f"{key!r} in {self.address}"
            if reason in ("NoSuchKey", "404"):
                raise ObjectMissing(f"no object {where}") from error
            if reason in ("PreconditionFailed", "412", "ConditionalRequestConflict", "409"):
                raise precondition(f"S3 refused the conditional put of {where}") from error
            raise PeerError(f"S3 failed for {where}: {reason}") from error


def _reason(error: Exception) -> str:
    answer: dict[str, Any] = getattr(error, "response", None) or {}
    return str(answer.get("Error", {}).get("Code") or type(error).__name__)


def _s3_client(settings: Settings) -> "S3Client":
    import boto3
    from botocore.config import Config

    explicit = settings.s3_access_key.get_secret_value()
    return boto3.client(
        "s3",
        endpoint_url=settings.s3_endpoint or None,
        region_name=settings.s3_region,
        aws_access_key_id=explicit or None,
        aws_secret_access_key=settings.s3_secret_key.get_secret_value() or None,
        config=Config(
            retries={"mode": "standard", "max_attempts": 4},
            connect_timeout=5,
            read_timeout=60,
            s3={"addressing_style": "path"} if settings.s3_endpoint else None,
        ),
    )

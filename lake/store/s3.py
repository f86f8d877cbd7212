"""The object store in a bucket of S3, of MinIO or of another service that honours conditional puts."""

import contextlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from errors import FuellineError, ObjectChanged, ObjectExists, ObjectMissing, PeerError
from hints import invalid_setting, unavailable
from lake.store.objects import ObjectInfo, require_key, require_prefix
from lake.store.s3_client import NO_CREDENTIALS, S3Access, s3_client
from settings import Settings

CONFLICT_TRIES, CONFLICT_PAUSE_S = 20, 0.05


class _PutInProgress(PeerError):
    """Another conditional put of the same key is in progress."""


class S3Store:
    """Objects in a bucket of any S3 service that honours ``If-None-Match`` and ``If-Match`` on a put (MinIO does).

    When a reply is lost, botocore sends the put again, and the winner of a ``create`` gets ``ObjectExists`` for its own
    object. A caller that has to know puts a nonce into the data and reads it back, as the ledger does.
    """

    def __init__(self, address: str, settings: Settings, timeout_s: float | None = None) -> None:
        self.address = address.rstrip("/")
        self.bucket, _, prefix = self.address.removeprefix("s3://").partition("/")
        self.prefix = prefix + "/" if prefix else ""
        self.client = s3_client(S3Access.of(settings), timeout_s)
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            self.client.head_bucket(Bucket=self.bucket)
        except (ClientError, BotoCoreError) as error:
            raise _bucket_error(self.bucket, error) from error

    def read(self, key: str) -> bytes:
        return self.read_versioned(key)[0]

    def read_versioned(self, key: str) -> tuple[bytes, str]:
        with self._errors_of(key):
            response = self.client.get_object(**self._location(key))
            return response["Body"].read(), response["ETag"]

    def exists(self, key: str) -> bool:
        try:
            with self._errors_of(key):
                self.client.head_object(**self._location(key))
        except ObjectMissing:
            return False
        return True

    def write(self, key: str, data: bytes) -> None:
        with self._errors_of(key):
            self.client.put_object(**self._location(key), Body=data)

    def create(self, key: str, data: bytes) -> str:
        return self._put_if(key, data, ObjectExists, IfNoneMatch="*")

    def replace(self, key: str, data: bytes, etag: str) -> str:
        try:
            return self._put_if(key, data, ObjectChanged, IfMatch=etag)
        except ObjectMissing as error:
            raise ObjectChanged(str(error)) from error

    def list(self, prefix: str) -> Iterator[str]:
        yield from (found.key for found in self.list_objects(prefix))

    def list_objects(self, prefix: str) -> Iterator[ObjectInfo]:
        with self._errors_of(require_prefix(prefix)):
            pages = self.client.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self.bucket, Prefix=self.prefix + prefix):
                for item in page.get("Contents", []):
                    key = item["Key"].removeprefix(self.prefix)
                    if not key.endswith("/"):  # the marker of an empty folder, which Arrow leaves when it deletes
                        yield ObjectInfo(key=key, modified=item["LastModified"], size=item["Size"])

    def folders(self, prefix: str) -> Sequence[str]:
        """What follows ``prefix`` in keys, up to the next slash."""
        with self._errors_of(prefix):
            pages = self.client.get_paginator("list_objects_v2")
            whole = self.prefix + prefix
            found = pages.paginate(Bucket=self.bucket, Prefix=whole, Delimiter="/").search("CommonPrefixes[].Prefix")
            return [folder.removeprefix(whole).rstrip("/") for folder in found if folder]

    def delete(self, key: str) -> None:
        with self._errors_of(key):
            self.client.delete_object(**self._location(key))

    def upload(self, key: str, path: Path) -> None:
        with self._errors_of(key):
            self.client.upload_file(str(path), self.bucket, self.prefix + require_key(key))

    def download(self, key: str, path: Path) -> None:
        with self._errors_of(key):
            self.client.download_file(self.bucket, self.prefix + require_key(key), str(path))

    def _put_if(self, key: str, data: bytes, refused: type[PeerError], **condition: Any) -> str:
        """A conditional put. The answer 409 means that another one is in progress and none has won yet: try again."""
        for _ in range(CONFLICT_TRIES):
            try:
                with self._errors_of(key, precondition=refused):
                    return self.client.put_object(**self._location(key), Body=data, **condition)["ETag"]
            except _PutInProgress:
                time.sleep(CONFLICT_PAUSE_S)
        raise PeerError(f"{CONFLICT_TRIES} tries: another put of {key!r} in {self.address} is in progress")

    def _location(self, key: str) -> dict[str, Any]:
        return {"Bucket": self.bucket, "Key": self.prefix + require_key(key)}

    @contextlib.contextmanager
    def _errors_of(self, key: str, precondition: type[PeerError] = ObjectChanged) -> Iterator[None]:
        """Turn the errors of botocore and boto3 into the store's own."""
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except (ClientError, BotoCoreError, Boto3Error) as error:
            reason = _reason(error)
            where = f"{key!r} in {self.address}"
            if reason in ("NoSuchKey", "404"):
                raise ObjectMissing(f"no object {where}") from error
            if reason in ("ConditionalRequestConflict", "409"):
                raise _PutInProgress(where) from error
            if reason in ("PreconditionFailed", "412"):
                raise precondition(f"S3 refused the conditional put of {where}") from error
            raise PeerError(f"S3 failed for {where}: {reason}") from error


def _reason(error: Exception) -> str:
    """S3's error code, or the class of an error that has none."""
    response: dict[str, Any] = getattr(error, "response", None) or {}
    return str(response.get("Error", {}).get("Code") or type(error).__name__)


def _bucket_error(bucket: str, error: Exception) -> FuellineError:
    """The error to raise for a bucket that cannot be opened: it names the setting that is probably at fault."""
    reason = _reason(error)
    if reason in _UNAVAILABLE:
        return unavailable("s3_endpoint", _UNAVAILABLE[reason])
    if reason in _INVALID:
        setting, message = _INVALID[reason]
        return invalid_setting(setting, message.format(bucket=repr(bucket)))
    return unavailable("s3_endpoint", f"S3 answered for the bucket {bucket!r}: {reason}")


_INVALID = {
    "404": ("store", "there is no bucket {bucket} at FUELLINE_S3_ENDPOINT"),
    "403": ("s3_access_key", "S3 denies access to the bucket {bucket}: the key, its secret or its policy is wrong"),
    "400": ("s3_region", "S3 does not accept the request for the bucket {bucket}; the region may be another"),
    "301": ("s3_region", "the bucket {bucket} is in another region"),
    "NoCredentialsError": ("s3_access_key", NO_CREDENTIALS),
    "SSLError": (
        "s3_ca",
        "the certificate of FUELLINE_S3_ENDPOINT is not signed by an authority that this machine trusts",
    ),
}
"""By S3's code or botocore's class: the setting at fault, and the reason to give."""
_UNAVAILABLE = {
    "EndpointConnectionError": "nothing listens there",
    "ConnectTimeoutError": "it does not accept a connection",
    "ReadTimeoutError": "it does not answer",
    "ConnectionClosedError": "it closes the connection; http and https may be mixed up",
}
"""The same for a service that may be back soon."""

"""The object store over S3, for MinIO and any other service that honours conditional puts."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from errors import FuellineError, ObjectChanged, ObjectExists, ObjectMissing, PeerError
from hints import away, wrong
from lake.store.objects import Stored, checked, checked_prefix
from lake.store.s3_client import NO_CREDENTIALS, S3Access, s3_client
from settings import Settings

CONFLICTS = 20
CONFLICT_PAUSE_S = 0.05


class _UnderWay(PeerError):
    """Another conditional put of the same key is under way."""


class S3Store:
    """Objects in a bucket of any S3 service that honours ``If-None-Match`` and ``If-Match`` on a put (MinIO does).

    A lost reply makes botocore send a put again, and then the winner of a ``create`` is told that it lost: whoever
    needs to know carries a nonce in the data and reads it back, as the ledger does.
    """

    def __init__(self, address: str, settings: Settings, answer_s: float | None = None) -> None:
        self.address = address.rstrip("/")
        self.bucket, _, prefix = self.address.removeprefix("s3://").partition("/")
        self.prefix = prefix + "/" if prefix else ""
        self.client = s3_client(S3Access.of(settings), answer_s)
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
        return self._put_if(key, data, ObjectExists, IfNoneMatch="*")

    def replace(self, key: str, data: bytes, etag: str) -> str:
        """See ``ObjectStore``."""
        try:
            return self._put_if(key, data, ObjectChanged, IfMatch=etag)
        except ObjectMissing as error:
            raise ObjectChanged(str(error)) from error

    def list(self, prefix: str) -> Iterator[str]:
        """See ``ObjectStore``."""
        yield from (one.key for one in self.stored(prefix))

    def stored(self, prefix: str) -> Iterator[Stored]:
        """See ``ObjectStore``."""
        with self._answers(checked_prefix(prefix)):
            pages = self.client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=self.prefix + prefix
            )
            for page in pages:
                for item in page.get("Contents", []):
                    key = item["Key"].removeprefix(self.prefix)
                    if not key.endswith("/"):  # the mark of an empty folder, which Arrow leaves when it deletes
                        yield Stored(key=key, modified=item["LastModified"], size=item["Size"])

    def delete(self, key: str) -> None:
        """See ``ObjectStore``."""
        with self._answers(key):
            self.client.delete_object(**self._at(key))

    def upload(self, key: str, path: Path) -> None:
        """See ``ObjectStore``."""
        with self._answers(key):
            self.client.upload_file(str(path), self.bucket, self.prefix + checked(key))

    def download(self, key: str, path: Path) -> None:
        """See ``ObjectStore``."""
        with self._answers(key):
            self.client.download_file(self.bucket, self.prefix + checked(key), str(path))

    def _put_if(self, key: str, data: bytes, refused: type[PeerError], **condition: Any) -> str:
        """A conditional put. 409 says that another one is under way, and nothing yet of who wins: ask again."""
        for _ in range(CONFLICTS):
            try:
                with self._answers(key, precondition=refused):
                    return self.client.put_object(**self._at(key), Body=data, **condition)["ETag"]
            except _UnderWay:
                time.sleep(CONFLICT_PAUSE_S)
        raise PeerError(f"S3 answered {CONFLICTS} times that another put of {key!r} in {self.address} is under way")

    def _at(self, key: str) -> dict[str, Any]:
        return {"Bucket": self.bucket, "Key": self.prefix + checked(key)}

    def _check_bucket(self) -> None:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            self.client.head_bucket(Bucket=self.bucket)
        except (ClientError, BotoCoreError) as error:
            raise unreachable(self.bucket, error) from error

    @contextlib.contextmanager
    def _answers(self, key: str, precondition: type[PeerError] = ObjectChanged) -> Iterator[None]:
        """Turn S3's answers into the store's own errors."""
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
                raise _UnderWay(where) from error
            if reason in ("PreconditionFailed", "412"):
                raise precondition(f"S3 refused the conditional put of {where}") from error
            raise PeerError(f"S3 failed for {where}: {reason}") from error


def _reason(error: Exception) -> str:
    answer: dict[str, Any] = getattr(error, "response", None) or {}
    return str(answer.get("Error", {}).get("Code") or type(error).__name__)


def unreachable(bucket: str, error: Exception) -> FuellineError:
    """What is said of a bucket that did not open: the setting that it is likely to be, why, and an example."""
    reason = _reason(error)
    kind, setting, told = _FAULTS.get(reason, (away, "s3_endpoint", "S3 answered for the bucket {bucket}: {reason}"))
    return kind(setting, told.format(bucket=repr(bucket), reason=reason))


_FAULTS = {
    "404": (wrong, "store", "there is no bucket {bucket} at FUELLINE_S3_ENDPOINT"),
    "403": (wrong, "s3_access_key", "S3 does not let it into the bucket {bucket}: the key, its secret or its policy"),
    "400": (wrong, "s3_region", "S3 does not take the request for the bucket {bucket}; the region may be another"),
    "301": (wrong, "s3_region", "the bucket {bucket} is in another region"),
    "NoCredentialsError": (wrong, "s3_access_key", NO_CREDENTIALS),
    "SSLError": (wrong, "s3_ca", "the certificate of FUELLINE_S3_ENDPOINT is not signed by anybody trusted here"),
    "EndpointConnectionError": (away, "s3_endpoint", "nothing listens there"),
    "ConnectTimeoutError": (away, "s3_endpoint", "it takes no connection"),
    "ReadTimeoutError": (away, "s3_endpoint", "it does not answer"),
    "ConnectionClosedError": (away, "s3_endpoint", "it breaks the connection off; http and https may be mixed up"),
}
"""By S3's code or botocore's class: whose fault it is, the setting, and the reason."""

"""How S3 is reached, said once for every client of it: endpoint, addressing, certificates, and whose credentials.

Where ``FUELLINE_S3_ACCESS_KEY`` is empty, credentials come by the chain of AWS' own tools: ``AWS_*`` variables, the
shared files, a web identity (IRSA, MinIO's STS), the node. One chain, boto3's, feeds Arrow's client too: Arrow's own
would ask other endpoints for a web identity and trust other certificates. DuckDB has no client of S3 here: it reads
what Arrow hands it.
"""

import functools
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from hints import wrong
from settings import Settings

if TYPE_CHECKING:
    from boto3 import Session
    from mypy_boto3_s3 import S3Client
    from pyarrow.fs import S3FileSystem

CONNECT_S, READ_S = 5, 60
TRIES = 5
NO_CREDENTIALS = (
    "it is not set, and the usual chain (AWS_* variables, ~/.aws, a web identity, the node) has none either"
)


class Credentials(NamedTuple):
    """What a request is signed with."""

    key: str
    secret: str
    token: str | None
    """Of credentials that expire."""


@dataclass(frozen=True, kw_only=True, slots=True)
class S3Access:
    """One S3 service as the settings name it; nothing but strings, so that it can travel as properties."""

    endpoint: str
    region: str
    ca: str
    access_key: str
    secret_key: str = field(repr=False)

    def __post_init__(self) -> None:
        if self.ca and not Path(self.ca).is_file():
            raise wrong("s3_ca", f"there is no file {self.ca}")

    @classmethod
    def of(cls, settings: Settings) -> "S3Access":
        """The one of these settings.

        Raises:
            SettingsError: ``FUELLINE_S3_CA`` names no file.
        """
        return cls(
            endpoint=settings.s3_endpoint,
            region=settings.s3_region,
            ca=settings.s3_ca,
            access_key=settings.s3_access_key.get_secret_value(),
            secret_key=settings.s3_secret_key.get_secret_value(),
        )


def s3_client(access: S3Access, answer_s: float | None = None) -> "S3Client":
    """boto3's client. An endpoint of one's own is addressed by path: its name has no bucket before it.

    Where ``answer_s`` is given, it has that many seconds to connect and to answer, and is not asked twice.

    Raises:
        SettingsError: the chain asks for a profile that is not there.
    """
    from botocore.config import Config

    return session().client(
        "s3",
        endpoint_url=access.endpoint or None,
        region_name=access.region,
        aws_access_key_id=access.access_key or None,
        aws_secret_access_key=access.secret_key or None,
        verify=access.ca or None,
        config=Config(
            retries={"mode": "standard", "total_max_attempts": 1 if answer_s else TRIES},
            connect_timeout=answer_s or CONNECT_S,
            read_timeout=answer_s or READ_S,
            s3={"addressing_style": "path"} if access.endpoint else None,
        ),
    )


def arrow_client(access: S3Access) -> "S3FileSystem":
    """Arrow's client, by which pyiceberg reads and writes tables. Ask for it before each use: credentials are renewed.

    Raises:
        SettingsError: there are no credentials.
    """
    return _arrow_client(access, credentials(access))


def credentials(access: S3Access) -> Credentials:
    """The credentials as they are now.

    Raises:
        SettingsError: none are set, and the chain has none either.
    """
    if access.access_key:
        return Credentials(access.access_key, access.secret_key, None)
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        found = session().get_credentials()
        now = found and found.get_frozen_credentials()
    except (BotoCoreError, ClientError) as error:
        raise wrong("s3_access_key", f"it is not set, and the usual chain fails ({error})") from error
    if now is None:
        raise wrong("s3_access_key", NO_CREDENTIALS)
    return Credentials(str(now.access_key), str(now.secret_key), now.token)


@functools.lru_cache(maxsize=1)
def session() -> "Session":
    """One a process: it keeps the credentials that the chain has found, and renews them in good time.

    Raises:
        SettingsError: the chain asks for a profile that is not there.
    """
    from boto3 import Session
    from botocore.exceptions import BotoCoreError

    try:
        return Session()
    except BotoCoreError as error:
        raise wrong("s3_access_key", f"it is not set, and the usual chain fails ({error})") from error


@functools.lru_cache(maxsize=4)
def _arrow_client(access: S3Access, now: Credentials) -> "S3FileSystem":
    """It addresses by path unless it is told not to."""
    from pyarrow.fs import S3FileSystem

    return S3FileSystem(
        access_key=now.key,
        secret_key=now.secret,
        session_token=now.token,
        region=access.region,
        endpoint_override=access.endpoint or None,
        connect_timeout=CONNECT_S,
        request_timeout=READ_S,
        tls_ca_file_path=access.ca or None,
    )

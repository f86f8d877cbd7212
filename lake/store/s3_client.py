"""How every client reaches S3: endpoint, addressing, certificates and credentials, in one place.

Where ``FUELLINE_S3_ACCESS_KEY`` is empty, credentials come from the default chain of the AWS tools: ``AWS_*``
variables, the shared files, a web identity (IRSA, MinIO's STS), the node. boto3's chain feeds Arrow's client too,
because Arrow's own would use other endpoints for a web identity and trust other certificates. DuckDB has no S3 client
here: it reads what Arrow passes to it.
"""

import functools
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from hints import invalid_setting
from settings import Settings

if TYPE_CHECKING:
    from boto3 import Session
    from mypy_boto3_s3 import S3Client
    from pyarrow.fs import S3FileSystem

CONNECT_S, READ_S = 5, 60
TRIES = 5
NO_CREDENTIALS = (
    "it is not set, and the default chain (AWS_* variables, ~/.aws, a web identity, the node) has none either"
)


class Credentials(NamedTuple):
    """What signs a request; ``token`` is the session token of credentials that expire."""

    key: str
    secret: str
    token: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class S3Access:
    """One S3 service as the settings name it; strings only, because pyiceberg passes it on as properties."""

    endpoint: str
    region: str
    ca: str
    access_key: str
    secret_key: str = field(repr=False)

    def __post_init__(self) -> None:
        if self.ca and not Path(self.ca).is_file():
            raise invalid_setting("s3_ca", f"there is no file {self.ca}")

    @classmethod
    def of(cls, settings: Settings) -> "S3Access":
        """Read it from the settings. Raises ``SettingsError`` where ``FUELLINE_S3_CA`` names no file."""
        return cls(
            endpoint=settings.s3_endpoint,
            region=settings.s3_region,
            ca=settings.s3_ca,
            access_key=settings.s3_access_key.get_secret_value(),
            secret_key=settings.s3_secret_key.get_secret_value(),
        )


def s3_client(access: S3Access, timeout_s: float | None = None) -> "S3Client":
    """boto3's client. A service other than AWS is addressed by path: its host name has no bucket before it.

    ``timeout_s`` are the seconds to connect and to answer, without a second try; None for the usual limits. Raises
    ``SettingsError`` where the credential chain names a profile that does not exist.
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
            retries={"mode": "standard", "total_max_attempts": 1 if timeout_s else TRIES},
            connect_timeout=timeout_s or CONNECT_S,
            read_timeout=timeout_s or READ_S,
            s3={"addressing_style": "path"} if access.endpoint else None,
        ),
    )


def arrow_client(access: S3Access) -> "S3FileSystem":
    """Arrow's client, which pyiceberg reads and writes tables with. Get it before each use: credentials are renewed."""
    return _arrow_client(access, credentials(access))


def credentials(access: S3Access) -> Credentials:
    """The credentials that are valid now. Raises ``SettingsError`` where none are set and the chain has none either."""
    if access.access_key:
        return Credentials(access.access_key, access.secret_key, None)
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        found = session().get_credentials()
        now = found and found.get_frozen_credentials()
    except (BotoCoreError, ClientError) as error:
        raise invalid_setting("s3_access_key", f"it is not set, and the default chain fails ({error})") from error
    if now is None:
        raise invalid_setting("s3_access_key", NO_CREDENTIALS)
    return Credentials(str(now.access_key), str(now.secret_key), now.token)


@functools.lru_cache(maxsize=1)
def session() -> "Session":
    """boto3's session, one per process: it caches the credentials of the chain and renews them before they expire."""
    from boto3 import Session
    from botocore.exceptions import BotoCoreError

    try:
        return Session()
    except BotoCoreError as error:
        raise invalid_setting("s3_access_key", f"it is not set, and the default chain fails ({error})") from error


@functools.lru_cache(maxsize=4)
def _arrow_client(access: S3Access, signed_by: Credentials) -> "S3FileSystem":
    """One client per set of credentials. It addresses by path, its default."""
    from pyarrow.fs import S3FileSystem

    return S3FileSystem(
        access_key=signed_by.key,
        secret_key=signed_by.secret,
        session_token=signed_by.token,
        region=access.region,
        endpoint_override=access.endpoint or None,
        connect_timeout=CONNECT_S,
        request_timeout=READ_S,
        tls_ca_file_path=access.ca or None,
    )

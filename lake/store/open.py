"""Open the object store that the settings name."""

from pathlib import Path

from lake.store.folder import FolderStore
from lake.store.objects import ObjectStore
from settings import Settings


def open_store(settings: Settings, timeout_s: float | None = None) -> ObjectStore:
    """Open the store of the settings' lake; a folder is created if there is none.

    ``timeout_s`` are the seconds that S3 has to connect and to answer, without a second try; None for the usual limits.
    Raises ``SettingsError`` where ``FUELLINE_STORE`` names a bucket that does not exist or may not be read.
    """
    address = settings.store_address
    if not address.startswith("s3://"):
        return FolderStore(Path(address))
    from lake.store.s3 import S3Store  # loads botocore, which a folder does not need

    return S3Store(address, settings, timeout_s)

"""The Iceberg catalogue: pyiceberg's own over SQL, with retries of the connection and errors that name the setting."""

import functools
from typing import TYPE_CHECKING

from lake.store.database import initialize_database, retry_connect, sql_address
from lake.store.s3_client import S3Access
from settings import Settings

if TYPE_CHECKING:
    from pyiceberg.catalog.sql import SqlCatalog

SETTING = "catalog"


@functools.lru_cache(maxsize=8)
def open_catalog(settings: Settings) -> "SqlCatalog":
    """The catalogue of the settings' lake, one per process; its own tables are created where they are missing.

    Raises ``SettingsError`` or ``PeerError`` as ``initialize_database``.
    """
    from pyiceberg.catalog.sql import SqlCatalog

    class RetryingCatalog(SqlCatalog):
        def _init_catalog(self) -> None:
            retry_connect(self.engine, SETTING)
            super()._init_catalog()

    address = settings.store_address
    properties = {"warehouse": f"file://{address}/warehouse"}
    if address.startswith("s3://"):
        from lake.tables.file_io import file_io_properties

        properties = {"warehouse": f"{address}/warehouse", **file_io_properties(S3Access.of(settings))}
    settings.folder.mkdir(parents=True, exist_ok=True)
    properties |= {"uri": sql_address(settings.catalog_address), "pool_pre_ping": "true"}
    return initialize_database(SETTING, properties["uri"], lambda: RetryingCatalog(settings.lake, **properties))

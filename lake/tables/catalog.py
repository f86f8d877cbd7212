"""The Iceberg catalogue: pyiceberg's own over SQL, with retries of the connection and errors that name the setting."""

import contextlib
import functools
import sqlite3
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

    from lake.tables.file_io import file_io_properties, folder_properties

    address = settings.store_address
    if address.startswith("s3://"):
        properties = {"warehouse": f"{address}/warehouse", **file_io_properties(S3Access.of(settings))}
    else:
        properties = {"warehouse": f"file://{address}/warehouse", **folder_properties(address)}
    settings.folder.mkdir(parents=True, exist_ok=True)
    properties |= {"uri": sql_address(settings.catalog_address), "pool_pre_ping": "true"}
    return initialize_database(SETTING, properties["uri"], lambda: RetryingCatalog(stored_name(settings), **properties))


def stored_name(settings: Settings) -> str:
    """The lake's name in its databases: an embedded lake whose folder was renamed keeps the one it was created with."""
    file = settings.folder / "catalog.db"
    if settings.catalog or not file.exists():
        return settings.lake
    names: list[tuple[str]] = []
    with (
        contextlib.closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, timeout=60)) as database,
        contextlib.suppress(sqlite3.OperationalError),  # another process is about to make its tables
    ):
        names = database.execute("SELECT catalog_name FROM iceberg_namespace_properties LIMIT 1").fetchall()
    return names[0][0] if names else settings.lake

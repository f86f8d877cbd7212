"""The Iceberg catalogue: pyiceberg's own over SQL, made to outlive a restart of Postgres and to say what is wrong."""

import functools
from typing import TYPE_CHECKING

from lake.store.database import make_patient, opened, sql_address
from lake.store.s3_client import S3Access
from settings import Settings

if TYPE_CHECKING:
    from pyiceberg.catalog.sql import SqlCatalog

SETTING = "catalog"


@functools.lru_cache(maxsize=8)
def open_catalog(settings: Settings) -> "SqlCatalog":
    """The catalogue of the settings' lake, one a process; its tables are made where there are none.

    Raises:
        SettingsError: ``FUELLINE_CATALOG`` names no database, or one that is not for this user.
        PeerError: the database does not answer.
    """
    address = settings.store_address
    places = {"warehouse": f"file://{address}/warehouse"}
    if address.startswith("s3://"):
        from lake.tables.file_io import properties_of

        places = {"warehouse": f"{address}/warehouse", **properties_of(S3Access.of(settings))}
    settings.folder.mkdir(parents=True, exist_ok=True)
    places |= {"uri": sql_address(settings.catalog_address), "pool_pre_ping": "true"}
    return opened(SETTING, places["uri"], lambda: _patient(settings.lake, places))


def _patient(name: str, places: dict[str, str]) -> "SqlCatalog":
    from pyiceberg.catalog.sql import SqlCatalog

    class Patient(SqlCatalog):
        def _init_catalog(self) -> None:
            make_patient(self.engine, SETTING)
            super()._init_catalog()

    return Patient(name, **places)

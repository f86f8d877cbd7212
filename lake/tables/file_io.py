"""The files of Iceberg tables on S3: pyiceberg's reader and writer over the client that ``lake.store.s3_client`` makes.

pyiceberg makes this class itself, by its name and from strings, so where the files are comes as properties. They are
kept in memory: the catalogue writes none of them down.
"""

from dataclasses import asdict, fields

from pyarrow.fs import FileSystem
from pyiceberg.io.pyarrow import PyArrowFileIO
from pyiceberg.typedef import EMPTY_DICT, Properties

from lake.store.s3_client import S3Access, arrow_client

PREFIX = "fuelline.s3."


def properties_of(access: S3Access) -> dict[str, str]:
    """What the catalogue is told so that every table's files are reached by this class."""
    places = {PREFIX + name: value for name, value in asdict(access).items()}
    return {"py-io-impl": f"{TableFiles.__module__}.{TableFiles.__name__}", **places}


class TableFiles(PyArrowFileIO):
    """Reads and writes a table's files in a bucket."""

    def __init__(self, properties: Properties = EMPTY_DICT) -> None:
        super().__init__(properties)
        self.fs_by_scheme = self._initialize_fs  # not kept: its credentials may have been renewed since

    def _initialize_s3_fs(self, netloc: str | None) -> FileSystem:
        return arrow_client(S3Access(**{f.name: self.properties[PREFIX + f.name] for f in fields(S3Access)}))

"""The files of Iceberg tables on S3: pyiceberg's reader and writer over the client of ``lake.store.s3_client``.

pyiceberg creates this class itself, from its name and from properties, which are strings. The properties stay in
memory: the catalogue does not store them.
"""

from dataclasses import asdict, fields

from pyarrow.fs import FileSystem
from pyiceberg.io.pyarrow import PyArrowFileIO
from pyiceberg.typedef import EMPTY_DICT, Properties

from lake.store.s3_client import S3Access, arrow_client

PREFIX = "fuelline.s3."


def file_io_properties(access: S3Access) -> dict[str, str]:
    """The catalogue's properties that make it read and write every table's files with ``TableFiles``."""
    properties = {PREFIX + name: value for name, value in asdict(access).items()}
    return {"py-io-impl": f"{TableFiles.__module__}.{TableFiles.__name__}", **properties}


class TableFiles(PyArrowFileIO):
    """Reads and writes a table's files in a bucket."""

    def __init__(self, properties: Properties = EMPTY_DICT) -> None:
        super().__init__(properties)
        self.fs_by_scheme = self._initialize_fs  # not cached: its credentials may have been renewed since

    def _initialize_s3_fs(self, netloc: str | None) -> FileSystem:
        return arrow_client(S3Access(**{f.name: self.properties[PREFIX + f.name] for f in fields(S3Access)}))

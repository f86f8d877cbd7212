"""The files of Iceberg tables: pyiceberg's reader and writer on S3, over the client of ``lake.store.s3_client``, and in
a folder that may be moved.

pyiceberg creates these classes itself, from their names and from properties, which are strings. The properties stay in
memory: the catalogue does not store them.
"""

from dataclasses import asdict, fields

from pyarrow.fs import FileSystem
from pyiceberg.io import InputFile, OutputFile
from pyiceberg.io.pyarrow import PyArrowFileIO
from pyiceberg.typedef import EMPTY_DICT, Properties

from lake.store.s3_client import S3Access, arrow_client

PREFIX, ROOT, TABLES = "fuelline.s3.", "fuelline.root", "/warehouse/"


def file_io_properties(access: S3Access) -> dict[str, str]:
    """The catalogue's properties that make it read and write every table's files with ``TableFiles``."""
    properties = {PREFIX + name: value for name, value in asdict(access).items()}
    return {"py-io-impl": f"{TableFiles.__module__}.{TableFiles.__name__}", **properties}


def folder_properties(root: str) -> dict[str, str]:
    """The same for tables in a folder store."""
    return {"py-io-impl": f"{FolderFiles.__module__}.{FolderFiles.__name__}", ROOT: root}


class TableFiles(PyArrowFileIO):
    """Reads and writes a table's files in a bucket."""

    def __init__(self, properties: Properties = EMPTY_DICT) -> None:
        super().__init__(properties)
        self.fs_by_scheme = self._initialize_fs  # not cached: its credentials may have been renewed since

    def _initialize_s3_fs(self, netloc: str | None) -> FileSystem:
        return arrow_client(S3Access(**{f.name: self.properties[PREFIX + f.name] for f in fields(S3Access)}))


def relocated(path: str, root: str) -> str:
    """The path of a table's file in the store whose folder is ``root`` now.

    Iceberg's catalogue, metadata and manifests hold absolute paths, those of the folder that the table was created in.
    They are left as they are: only the part from ``warehouse/`` on is used.
    """
    _, found, inside = path.rpartition(TABLES)
    return f"file://{root}{TABLES}{inside}" if found else path


class FolderFiles(PyArrowFileIO):
    """Reads and writes a table's files in a folder store, wherever that store was when the table was created."""

    def new_input(self, location: str) -> InputFile:  # type: ignore[override]
        return super().new_input(relocated(location, self.properties[ROOT]))

    def new_output(self, location: str) -> OutputFile:  # type: ignore[override]
        return super().new_output(relocated(location, self.properties[ROOT]))

    def delete(self, location: str | InputFile | OutputFile) -> None:
        path = location if isinstance(location, str) else location.location
        super().delete(relocated(path, self.properties[ROOT]))

"""The file source: agent logs as JSON lines, CSV or Parquet, plain or gzip, read in bounded memory.

Damage of the file itself (a truncated gzip stream, a line too long to be a row) is yielded as a ``Fault`` at its place,
after the good lines before it.
"""

import gzip
import io
import json
import logging
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import duckdb
import pyarrow as pa

from errors import NothingArrived, SourceError
from lake.contracts.base import Contract
from lake.ingest.blocks import Block, Fault
from lake.ingest.tabular import csv_blocks, parquet_blocks

log = logging.getLogger("fuelline.files")

BLOCK_BYTES = 8 << 20
LINE_BYTES_MAX = 16 << 20
"""Longer than any valid row; a longer line is skipped without being read into memory."""
BOM = b"\xef\xbb\xbf"
FORMATS = (".jsonl", ".ndjson", ".json", ".log", ".csv", ".parquet")
"""A ``.json`` file is a log if its first line is an object; a document over many lines is not."""
READABLE = f"{', '.join(FORMATS)}, plain or .gz, rotated or not"
ROTATION = re.compile(r"[.-]\d[\d._-]*(?=(\.gz)?$)", re.IGNORECASE)
"""What log rotation appends to a name: ``.1``, ``-20261126``, ``.2026-11-26_14``."""


def find_files(folder: Path) -> list[Path]:
    """The log files in a folder, in order of their paths; skipped files are logged. Raises ``NothingArrived`` where the
    folder does not exist or holds no log.
    """
    if not folder.exists():
        raise NothingArrived(f"there is no folder {str(folder)!r}; name a folder of logs ({READABLE})")
    found = [folder] if folder.is_file() else sorted(path for path in folder.rglob("*") if path.is_file())
    logs = [path for path in found if _is_log(path)]
    if not logs:
        raise NothingArrived(f"{str(folder)!r} holds no logs ({READABLE})")
    if others := [str(path.relative_to(folder)) for path in found if path not in set(logs)]:
        named = ", ".join(others[:3]) + (", ..." if len(others) > 3 else "")
        log.warning("%s: skipped %d files that are not logs (%s): %s", folder, len(others), READABLE, named)
    return logs


def extension(path: Path) -> str:
    """The file's format and compression, for example ``.jsonl.gz``, also of ``agent.jsonl.2.gz``."""
    name = Path(ROTATION.sub("", path.name))
    return "".join(name.suffixes[-2:] if name.suffix.lower() == ".gz" else name.suffixes[-1:]).lower()


def read_blocks(path: Path, contract: Contract) -> Iterator[Block | Fault]:
    """Read the file's rows as blocks of JSON lines, with its faults between them. Raises ``SourceError`` where the
    operating system cannot read the file; damaged content is a ``Fault`` instead.
    """
    last = 0
    with _opened(path) as stream:
        try:
            for piece in _pieces(path, stream, contract):
                last = piece.last
                yield piece
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, duckdb.Error, OSError) as error:
            if isinstance(error, OSError) and error.errno:
                raise SourceError(f"cannot read {str(path)!r}: {error.strerror}") from error
            yield Fault(line=last + 1, reason="unreadable_file")
        else:
            if isinstance(raw := stream.raw, _Gunzip) and raw.broken:
                yield Fault(line=last + 1, reason="truncated_file")


def _pieces(path: Path, stream: io.BufferedReader, contract: Contract) -> Iterator[Block | Fault]:
    if _format(path) == ".parquet":
        return parquet_blocks(stream, contract)
    if _format(path) == ".csv":
        with _opened(path) as again:
            header = next((line for line in iter(lambda: again.readline(LINE_BYTES_MAX), b"") if line.strip()), b"")
        return csv_blocks(stream, header, contract)
    return _line_blocks(stream)


def _is_log(path: Path) -> bool:
    if _format(path) != ".json":
        return _format(path) in FORMATS
    with _opened(path) as stream:
        first = stream.readline(LINE_BYTES_MAX).removeprefix(BOM)
    try:
        return isinstance(json.loads(first), dict)
    except (ValueError, RecursionError):
        return False


def _format(path: Path) -> str:
    return extension(path).removesuffix(".gz")


def _opened(path: Path) -> io.BufferedReader:
    try:
        if extension(path).endswith(".gz"):
            return io.BufferedReader(_Gunzip(path))
        return path.open("rb")
    except OSError as error:
        raise SourceError(f"cannot read {str(path)!r}: {error.strerror}") from error


class _Gunzip(io.RawIOBase):
    """A gzip stream that ends where it is damaged, so that what came before is read."""

    def __init__(self, path: Path) -> None:
        self.broken = False
        self._file = gzip.open(path, "rb")  # noqa: SIM115 - closed with this stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        try:
            data = self._file.read1(len(buffer))
        except (EOFError, zlib.error, gzip.BadGzipFile):
            self.broken, data = True, b""
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()


def _line_blocks(stream: BinaryIO | io.BufferedReader) -> Iterator[Block | Fault]:
    """Cut a stream at newlines: a number of bytes and the rest of the line in which they end. A line over the limit is
    skipped up to its end, wherever the reads fall.
    """
    line = 1
    while data := stream.read(BLOCK_BYTES):
        if not data.endswith(b"\n"):
            data += stream.readline(LINE_BYTES_MAX)
        begins = data.rfind(b"\n", 0, -1) + 1
        oversized = len(data) - begins - data.endswith(b"\n") > LINE_BYTES_MAX
        if good := data[:begins] if oversized else data:
            block = Block(first=line, data=good.removeprefix(BOM) if line == 1 else good)
            yield block
            line += block.lines
        if oversized:
            while data and not data.endswith(b"\n"):
                data = stream.readline(LINE_BYTES_MAX)
            yield Fault(line=line, reason="oversized_line")
            line += 1

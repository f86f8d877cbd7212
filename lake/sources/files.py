"""The file source: agent logs as JSON lines, CSV or Parquet, plain or gzip, read in bounded memory.

Whatever the format, out come blocks of JSON lines, so that one parser and one set of checks serve them all. A fault of the file
itself (a truncated gzip, a line too long to be a row) comes out as a ``Fault`` where it stands, after the good lines before it.
"""

import gzip
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import duckdb
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from errors import SourceError
from lake.contracts.base import Contract

BLOCK_BYTES = 8 << 20
LINE_BYTES_MAX = 16 << 20
"""Longer than any row that a contract admits; such a line is skipped without being read into memory."""
BOM = b"\xef\xbb\xbf"
LINES = (".jsonl", ".ndjson", ".log")
FORMATS = (*LINES, ".csv", ".parquet")


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """Complete JSON lines; ``first`` is the number of the first one in its file, from 1."""

    first: int
    data: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """A place where the file itself is at fault."""

    line: int
    reason: str


def find_files(folder: Path) -> list[Path]:
    """Files of the formats that can be read, in order of their paths.

    Raises:
        SourceError: the folder is not there, or holds none.
    """
    if folder.is_file():
        return [folder]
    if not folder.is_dir():
        raise SourceError(f"no folder {str(folder)!r}; give a folder of logs ({', '.join(FORMATS)}, plain or .gz)")
    found = sorted(path for path in folder.rglob("*") if path.is_file() and _format(path) in FORMATS)
    if not found:
        raise SourceError(f"{str(folder)!r} holds no logs ({', '.join(FORMATS)}, plain or .gz)")
    return found


def extension(path: Path) -> str:
    """The file's format and compression, for example ``.jsonl.gz``."""
    return "".join(path.suffixes[-2:] if path.suffix == ".gz" else path.suffixes[-1:]).lower()


def read_blocks(path: Path, contract: Contract) -> Iterator[Block | Fault]:
    """The file's rows as blocks of JSON lines, its faults between them."""
    try:
        with _opened(path) as stream:
            if _format(path) == ".parquet":
                yield from _parquet_blocks(stream)
            elif _format(path) == ".csv":
                yield from _csv_blocks(stream, contract)
            else:
                yield from _line_blocks(stream)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError):
        yield Fault(line=1, reason="unreadable_file")


def _format(path: Path) -> str:
    return extension(path).removesuffix(".gz")


def _opened(path: Path) -> IO[bytes]:
    if extension(path).endswith(".gz"):
        return gzip.open(path, "rb")  # type: ignore[return-value]
    return path.open("rb")


def _line_blocks(stream: IO[bytes]) -> Iterator[Block | Fault]:
    """Cut a stream at newlines. A line that outgrows the limit is skipped up to its end."""
    carry, line, skipping = b"", 1, False
    while True:
        try:
            chunk = stream.read(BLOCK_BYTES)
        except (EOFError, zlib.error, gzip.BadGzipFile):
            if carry and not skipping:
                yield Block(first=line, data=carry)
            yield Fault(line=line + bool(carry), reason="truncated_file")
            return
        if not chunk:
            break
        if skipping:
            _, newline, chunk = chunk.partition(b"\n")
            if not newline:
                continue
            skipping, line = False, line + 1
        data = (carry + chunk).removeprefix(BOM) if line == 1 else carry + chunk
        end = data.rfind(b"\n") + 1
        if end:
            yield Block(first=line, data=data[:end])
            line += data.count(b"\n", 0, end)
        carry = data[end:]
        if len(carry) > LINE_BYTES_MAX:
            yield Fault(line=line, reason="oversized_line")
            carry, skipping = b"", True
    if carry:
        yield Block(first=line, data=carry)


def _csv_blocks(stream: IO[bytes], contract: Contract) -> Iterator[Block | Fault]:
    """Rows as JSON objects: what reads as the contract's type becomes it, what does not stays text for the checks."""
    faults: list[int] = []

    def note(row: pa.csv.InvalidRow) -> str:
        faults.append(row.number or 0)
        return "skip"

    text = io.BytesIO(stream.read())
    header = text.readline().decode("utf-8-sig", "replace").strip().split(",")
    text.seek(0)
    names = [name.strip().strip('"') for name in header]
    batches = pa.csv.open_csv(
        text,
        parse_options=pa.csv.ParseOptions(newlines_in_values=True, invalid_row_handler=note),
        convert_options=pa.csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=True, quoted_strings_can_be_null=False
        ),
    )
    kinds = {column.name: column.type for column in contract.columns}
    fields = ", ".join(f"{_literal(name)}: {_csv_value(name, kinds.get(name, pa.string()))}" for name in names)
    row = 2
    for batch in batches:
        yield Block(first=row, data=_json_lines(pa.Table.from_batches([batch]), "{" + fields + "}"))
        row += batch.num_rows
    for number in faults:
        yield Fault(line=number or row, reason="malformed_csv")


def _csv_value(name: str, kind: pa.DataType) -> str:
    column = '"' + name.replace('"', '""') + '"'
    if kind == pa.bool_():
        return f"coalesce(to_json(try_cast({column} AS BOOLEAN)), to_json({column}))"
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        number = f"CASE WHEN {column} ~ '^-?[0-9]+$' THEN to_json(try_cast({column} AS BIGINT)) END"
        return f"coalesce({number}, to_json(try_cast({column} AS DOUBLE)), to_json({column}))"
    return f"to_json({column})"


def _parquet_blocks(stream: IO[bytes]) -> Iterator[Block]:
    file = pa.parquet.ParquetFile(io.BytesIO(stream.read()) if isinstance(stream, gzip.GzipFile) else stream)
    row = 1
    for batch in file.iter_batches(batch_size=32_768):
        table = pa.Table.from_batches([batch])
        fields = ", ".join(f'{_literal(name)}: "{name.replace(chr(34), chr(34) * 2)}"' for name in table.column_names)
        yield Block(first=row, data=_json_lines(_integral(table), "{" + fields + "}"))
        row += table.num_rows


def _integral(table: pa.Table) -> pa.Table:
    """Floats that are all whole become integers: pandas writes an integer column with nulls as floats."""
    for number, field in enumerate(table.schema):
        if pa.types.is_floating(field.type):
            try:
                table = table.set_column(number, field.name, table.column(number).cast(pa.int64()))
            except pa.ArrowInvalid:
                continue
    return table


def _json_lines(table: pa.Table, struct: str) -> bytes:
    with duckdb.connect() as db:
        db.execute("SET TimeZone = 'UTC'")
        db.register("rows", table)
        lines = db.sql(f"SELECT to_json({struct})::VARCHAR FROM rows").to_arrow_table().column(0)
    return b"".join(line.encode() + b"\n" for line in lines.to_pylist())


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"

"""CSV and Parquet as JSON lines. A cell that reads as its column's type is converted; another stays for the checks.

Rows are numbered from 1, a CSV file's header included. A row that cannot be a JSON line (its cells do not match the
header, or are not UTF-8) becomes a fault with its number, so that every other row keeps its own.
"""

import csv
import io
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from lake.contracts.base import Column, Contract
from lake.ingest.blocks import Block, Fault, decoded
from lake.tables.engine import connect

CSV_BLOCK_BYTES = 16 << 20
"""Reading a file ends at a longer row."""
PARQUET_ROWS = 8_192
WHOLE_MAX = 2**53
"""Whole doubles up to this are read as integers: pandas writes an integer column with nulls as ``1.0``."""
NULLS = ("NaN", "nan", "NULL", "null", "None", "NA", "<NA>")
"""How pandas and R write a missing number; read as null in an optional column of numbers."""


def csv_blocks(stream: io.BufferedReader, header: bytes, contract: Contract) -> Iterator[Block | Fault]:
    """Rows of a CSV file. An empty cell is null, a quoted empty one is an empty string; see ``NULLS`` for numbers."""
    names = next(csv.reader([header.decode("utf-8-sig", "replace").rstrip("\r\n")]), [])
    if not names:
        return
    malformed: dict[int, Fault] = {}

    def note(row: pa.csv.InvalidRow) -> str:
        malformed[row.number] = Fault(line=row.number, reason="malformed_csv")
        return "skip"

    reader = pa.csv.open_csv(
        stream,
        read_options=pa.csv.ReadOptions(use_threads=False, block_size=CSV_BLOCK_BYTES),
        parse_options=pa.csv.ParseOptions(newlines_in_values=True, invalid_row_handler=note),
        convert_options=pa.csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.binary()),
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )
    number = 2
    for batch in reader:
        first, lines = number, []
        for line in _json_lines(pa.Table.from_batches([batch]), contract):
            while number in malformed:
                lines.append(b"")
                number += 1
            lines.append(line)
            number += 1
        if lines:
            yield Block(first=first, data=b"\n".join(lines))
        yield from (malformed.pop(row) for row in sorted(malformed) if row < number)
    yield from malformed.values()


def parquet_blocks(stream: io.BufferedReader, contract: Contract) -> Iterator[Block]:
    """Rows of a Parquet file. A file in gzip is read into memory, because Parquet is read from its end."""
    file = pa.parquet.ParquetFile(stream if stream.seekable() else io.BytesIO(stream.read()))
    first = 1
    for batch in file.iter_batches(batch_size=PARQUET_ROWS):
        yield Block(first=first, data=b"\n".join(_json_lines(pa.Table.from_batches([batch]), contract)))
        first += batch.num_rows


def _json_lines(table: pa.Table, contract: Contract) -> list[bytes]:
    """Each row as a JSON object, or its raw bytes where a cell is not UTF-8."""
    table, broken = _utf8(table)
    declared = {column.name: column for column in contract.columns}
    fields = ", ".join(f"{_literal(f.name)}: {_value(f, declared.get(f.name))}" for f in table.schema)
    with connect() as db:
        db.register("rows", table)
        lines = db.sql(f"SELECT to_json({{{fields}}})::VARCHAR FROM rows").to_arrow_table().column(0)
    return [broken.get(row) or line.encode() for row, line in enumerate(lines.to_pylist())]


def _utf8(table: pa.Table) -> tuple[pa.Table, dict[int, bytes]]:
    """The table with its text columns as UTF-8, and by row the raw bytes of cells that are not (null in the table)."""
    broken: dict[int, bytes] = {}
    for number, field in enumerate(table.schema):
        if field.type not in (pa.binary(), pa.string(), pa.large_string()):
            continue
        cells = table.column(number).cast(pa.binary())
        try:
            text = cells.cast(pa.string())
        except pa.ArrowInvalid:
            values = cells.to_pylist()
            texts = [None if value is None else decoded(value) for value in values]
            for row, (value, readable) in enumerate(zip(values, texts, strict=True)):
                if value is not None and readable is None:
                    broken[row] = value.replace(b"\n", b" ")
            text = pa.array(texts, pa.string())
        table = table.set_column(number, field.name, text)
    return table, broken


def _value(field: pa.Field, declared: Column | None) -> str:
    """SQL for a cell as JSON: text is read as the declared column's kind, whole doubles become integers."""
    column = '"' + field.name.replace('"', '""') + '"'
    if pa.types.is_floating(field.type):
        return _number(column)
    if declared is None or not pa.types.is_string(field.type):
        return f"to_json({column})"
    if pa.types.is_integer(declared.type) or pa.types.is_floating(declared.type):
        integer = f"CASE WHEN {column} ~ '^-?[0-9]+$' THEN to_json(try_cast({column} AS BIGINT)) END"
        number = f"coalesce({integer}, {_number(f'try_cast({column} AS DOUBLE)')}, to_json({column}))"
        return number if declared.required else f"CASE WHEN {column} NOT IN {NULLS} THEN {number} END"
    if pa.types.is_boolean(declared.type):
        return f"coalesce(to_json(try_cast({column} AS BOOLEAN)), to_json({column}))"
    return f"to_json({column})"


def _number(double: str) -> str:
    """SQL for a double as JSON, as an integer where it is a whole number."""
    whole = f"isfinite({double}) AND {double} = trunc({double}) AND abs({double}) <= {WHOLE_MAX}"
    return f"CASE WHEN {whole} THEN to_json(CAST({double} AS BIGINT)) ELSE to_json({double}) END"


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"

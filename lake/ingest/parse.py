"""Parse JSON lines to typed rows, with a reason for each line that is not a row.

A block with only well-formed rows, which is nearly every block, is read by Arrow at once. Any other is cut into pieces
until few lines surround a bad one; these are read line by line, in SQL, and each gets a verdict. Both ways give the
same rows, as a property test checks.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json
from pyarrow.types import is_boolean, is_floating, is_integer, is_timestamp

from lake.contracts.base import Column, Contract
from lake.contracts.registries import REGISTRIES
from lake.ingest.blocks import Block, decoded
from lake.tables.engine import connect

PARSER_VERSION = 2
"""Part of every ingestion key. A golden test requires a new number when the results of parsing or checking change."""

CUT_ABOVE_LINES, PIECES = 100, 16
"""A block with a bad line is cut further if it has more lines than this, and into how many pieces: one bad line makes
a block about twice as slow, and many hardly slower than reading it line by line at once."""
NO_BRACE = re.compile(rb"\n[^{]")
RAW_CHARACTERS = 2_000
"""Length of the part of a rejected line that quarantine keeps; the raw zone keeps all of it."""
TIMESTAMP = r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?(Z|[+-][01]\d(:?[0-5]\d)?)"
"""ISO 8601 with an offset. Digits beyond microseconds are cut off."""
INSTANTS = range(253_402_300_800_000_000)
"""Microseconds from 1970 to the year 9999. An earlier time is an unset clock, such as some languages' zero time."""
TEXTS, TRAILING_COMMA = r'"([^"\\]|\\.)*"', r",\s*[}\]]"
"""Patterns of JSON strings, and of a comma before a closing bracket, which DuckDB accepts and JSON does not allow."""

REJECTS = pa.schema(
    {
        "line": pa.int64(),
        "reason": pa.string(),
        "column": pa.string(),
        "raw": pa.string(),
        "timestamp": pa.timestamp("us", tz="UTC"),
        "agent_name": pa.string(),
        "error": pa.bool_(),
    }
)
"""Columns of rejected lines: number, reason, the column at fault, the first characters, and the readable values."""


@dataclass(frozen=True, kw_only=True)
class Parsed:
    """A block's rows (the contract's columns and ``line``) and its rejects (``REJECTS``)."""

    rows: pa.Table
    rejects: pa.Table


def parse(contract: Contract, block: Block) -> Parsed:
    """Parse a block of JSON lines to rows of a contract. Types and required columns are checked, not bounds."""
    pieces = list(_attempts(contract, block))
    clean = [rows for _, rows in pieces if rows is not None]
    unclean = [piece for piece, rows in pieces if rows is None]
    if not unclean:
        return Parsed(rows=pa.concat_tables(clean), rejects=REJECTS.empty_table())
    parsed = _parse_lines(contract, unclean)
    return Parsed(rows=pa.concat_tables([*clean, parsed.rows]).sort_by("line"), rejects=parsed.rejects)


def readable(line: bytes) -> str:
    """The part of a line that quarantine keeps."""
    return line[: 4 * RAW_CHARACTERS].decode("utf-8", "replace").strip()[:RAW_CHARACTERS]


def _attempts(contract: Contract, block: Block) -> Iterator[tuple[Block, pa.Table | None]]:
    """The block in pieces: each with its rows if all its lines are rows, else with None."""
    rows = _parse_clean(contract, block)
    if rows is None and block.lines > CUT_ABOVE_LINES:
        for piece in block.pieces(PIECES):
            yield from _attempts(contract, piece)
    else:
        yield block, rows


def _parse_clean(contract: Contract, block: Block) -> pa.Table | None:
    """The block's rows if every line is one valid row; else None, and the lines have to be parsed one by one.

    A JSON text contains no newline and no column is nested, so a line that begins with a brace begins a row. If all
    lines do and there are as many rows as lines, then each line is one row.
    """
    if not block.data.startswith(b"{") or NO_BRACE.search(block.data):
        return None
    # Timestamps are read as text first, because Arrow's JSON reader accepts other forms than the contract.
    texts = pa.schema([(c.name, pa.string() if is_timestamp(c.type) else c.type) for c in contract.columns])
    try:
        table = pyarrow.json.read_json(
            pa.BufferReader(block.data),
            read_options=pyarrow.json.ReadOptions(use_threads=False, block_size=len(block.data)),
            parse_options=pyarrow.json.ParseOptions(explicit_schema=texts, unexpected_field_behavior="error"),
        ).select(contract.arrow_schema.names)
        table.validate(full=True)
        rows = table.cast(_nullable(contract))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None
    if rows.num_rows != block.lines or not all(_fits(column, table, rows) for column in contract.columns):
        return None
    return rows.append_column("line", pa.array(np.arange(block.first, block.first + rows.num_rows)))


def _fits(column: Column, texts: pa.Table, rows: pa.Table) -> bool:
    values = rows[column.name]
    if column.required and values.null_count:
        return False
    if not is_timestamp(column.type):
        return True
    span = pc.min_max(values.cast(pa.int64())).as_py()
    shapes = pc.match_substring_regex(texts[column.name], f"^{TIMESTAMP}$")
    within = span["min"] is None or (span["min"] in INSTANTS and span["max"] in INSTANTS)
    return within and pc.all(shapes).as_py() is not False


def _nullable(contract: Contract) -> pa.Schema:
    return pa.schema([pa.field(c.name, c.type) for c in contract.columns])


def _parse_lines(contract: Contract, blocks: Sequence[Block]) -> Parsed:
    """Parse line by line: the rows, and a reason for each other line."""
    every = (line for block in blocks for line in enumerate(block.data.split(b"\n"), start=block.first))
    texts = {number: text.rstrip(b"\r") for number, text in every if text.strip()}
    schema = pa.schema({"line": pa.int64(), "text": pa.string()})
    with connect() as db:
        db.register("lines", pa.table([list(texts), [decoded(text) for text in texts.values()]], schema=schema))
        db.execute(f"CREATE TABLE judged AS {_verdicts(contract)}")
        good = f"SELECT {_typed(contract)}, line FROM judged WHERE verdict IS NULL ORDER BY line"
        rows, bad = db.sql(good).to_arrow_table(), db.sql(_rejects(contract)).to_arrow_table()
    raw = pa.array([readable(texts[number]) for number in bad["line"].to_pylist()], pa.string())
    rejects = bad.append_column("raw", raw).select(REJECTS.names).cast(REJECTS)
    return Parsed(rows=rows.cast(_nullable(contract).append(pa.field("line", pa.int64()))), rejects=rejects)


def _verdicts(contract: Contract) -> str:
    """SQL over ``lines(line, text)``: each line's types ``t`` and values ``v`` by column, and its verdict, null for a
    valid row. A line is ``fine`` if it is a JSON object for DuckDB, less the forms that only DuckDB accepts.
    """
    paths = "[" + ", ".join(f"'$.{column.name}'" for column in contract.columns) + "]"
    numbered = list(enumerate(contract.columns, start=1))
    numbers = [(n, c) for n, c in numbered if is_integer(c.type) or is_floating(c.type)]
    rules = [
        "WHEN text IS NULL THEN 'invalid_utf8'",
        "WHEN NOT fine OR len(keys) <> len(list_distinct(keys)) THEN 'malformed_json'",
        *(f"WHEN t[{n}] IS NULL THEN 'missing_column:{c.name}'" for n, c in numbered if c.required),
        f"WHEN NOT list_has_all({[c.name for c in contract.columns]}, keys) THEN 'unexpected_column'",
        *(f"WHEN t[{n}] = 'NULL' THEN 'null_required:{c.name}'" for n, c in numbered if c.required),
        *(f"WHEN {_not_finite(n)} THEN 'not_a_number:{c.name}'" for n, c in numbers),
        *(f"WHEN t[{n}] <> 'NULL' AND NOT {_right_type(n, c)} THEN 'wrong_type:{c.name}'" for n, c in numbered),
        *(f"WHEN NOT {_instant(n)} THEN 'bad_timestamp:{c.name}'" for n, c in numbered if is_timestamp(c.type)),
    ]
    commas = f"contains(text, ',') AND regexp_matches(regexp_replace(text, '{TEXTS}', '', 'g'), '{TRAILING_COMMA}')"
    well_formed = f"json_valid(text) AND regexp_matches(text, '^\\s*\\{{') AND NOT ({commas})"
    return f"""
        SELECT *, CASE {" ".join(rules)} END AS verdict
        FROM (SELECT *, CASE WHEN fine THEN json_keys(text) END AS keys,
                     CASE WHEN fine THEN json_type(text, {paths}) END AS t,
                     CASE WHEN fine THEN json_extract_string(text, {paths}) END AS v
              FROM (SELECT *, coalesce({well_formed}, false) AS fine FROM lines))
    """


def _not_finite(n: int) -> str:
    return f"t[{n}] = 'DOUBLE' AND NOT coalesce(isfinite(try_cast(v[{n}] AS DOUBLE)), false)"


def _right_type(n: int, column: Column) -> str:
    """SQL that is true where the value has the column's JSON type."""
    if is_integer(column.type):
        return f"(t[{n}] IN ('BIGINT', 'UBIGINT') AND try_cast(v[{n}] AS BIGINT) IS NOT NULL)"
    if is_floating(column.type):
        return f"t[{n}] IN ('BIGINT', 'UBIGINT', 'DOUBLE')"
    return f"t[{n}] = '{'BOOLEAN' if is_boolean(column.type) else 'VARCHAR'}'"


def _instant(n: int) -> str:
    """SQL that is true for a null and for a valid instant with an offset, in range."""
    micros = f"epoch_us(try_cast(v[{n}] AS TIMESTAMPTZ)) BETWEEN {INSTANTS.start} AND {INSTANTS.stop - 1}"
    return f"(v[{n}] IS NULL OR (regexp_full_match(v[{n}], '{TIMESTAMP}') AND coalesce({micros}, false)))"


def _typed(contract: Contract) -> str:
    """SQL select list: the values of a valid line in the contract's types."""
    names = {"int64": "BIGINT", "double": "DOUBLE", "bool": "BOOLEAN", "string": "VARCHAR"}
    return ", ".join(
        f'CAST(v[{n}] AS {names.get(str(column.type), "TIMESTAMPTZ")}) AS "{column.name}"'
        for n, column in enumerate(contract.columns, start=1)
    )


def _rejects(contract: Contract) -> str:
    """SQL select of ``REJECTS`` without the raw text. Readable values of a bad line serve to count rejects by agent."""
    agents = ", ".join(f"'{name}'" for name in sorted(REGISTRIES["agents"]))
    numbers = {column.name: n for n, column in enumerate(contract.columns, start=1)}
    at, agent, error = (numbers.get(name) for name in ("timestamp", "agent_name", "error"))
    return f"""
        SELECT line, split_part(verdict, ':', 1) AS reason, nullif(split_part(verdict, ':', 2), '') AS "column",
               {f"CASE WHEN {_instant(at)} THEN try_cast(v[{at}] AS TIMESTAMPTZ) END" if at else "NULL"} AS timestamp,
               {f"CASE WHEN v[{agent}] IN ({agents}) THEN v[{agent}] END" if agent else "NULL"} AS agent_name,
               {f"CASE WHEN t[{error}] = 'BOOLEAN' THEN v[{error}] = 'true' END" if error else "NULL"} AS error
        FROM judged WHERE verdict IS NOT NULL ORDER BY line
    """

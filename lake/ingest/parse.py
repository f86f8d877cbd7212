"""From JSON lines to typed rows, and to a reason for each line that is not one.

A block that holds nothing but well-formed rows, which is nearly every block, is read by Arrow in one go. Any other
is cut into pieces until few lines stand around a bad one; these are read line by line, in SQL, and each gets its
verdict. Both ways give the same rows (a property test holds them to it).
"""

import functools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

from lake.contracts.base import Column, Contract
from lake.contracts.registries import REGISTRIES
from lake.ingest.blocks import Block
from lake.tables.engine import connect

PARSER_VERSION = 2
"""Part of every ingestion key. A golden test forces it to move when the results of parsing or checking move."""

LINES_ALIKE, PIECES = 100, 16
"""From how many lines on a block with a bad one is cut further, and into how many pieces: so one bad line makes a
block about twice as slow, and a block full of them hardly slower than reading it line by line at once."""
NO_BRACE = re.compile(rb"\n[^{]")
RAW_CHARACTERS = 2_000
"""How much of a rejected line quarantine keeps; the raw zone keeps all of it."""
TIMESTAMP = r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?(Z|[+-][01]\d(:?[0-5]\d)?)"
"""ISO 8601 with its offset. Digits beyond microseconds are cut off."""
INSTANTS = range(253_402_300_800_000_000)
"""Microseconds from 1970 to the year 9999. An earlier time is a clock never set, such as some languages' zero time."""
TEXTS, TRAILING_COMMA = r'"([^"\\]|\\.)*"', r",\s*[}\]]"
"""DuckDB reads a comma before a closing bracket; JSON knows none."""

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
"""Rejected lines: their number, why, the column at fault, their first characters, and what could be read of them."""


@dataclass(frozen=True, kw_only=True)
class Parsed:
    """A block's rows (the contract's columns and ``line``) and its rejects (``REJECTS``)."""

    rows: pa.Table
    rejects: pa.Table

    @property
    def landed(self) -> int:
        """Lines that are not blank."""
        return self.rows.num_rows + self.rejects.num_rows


def parse(contract: Contract, block: Block) -> Parsed:
    """Read a block of JSON lines as rows of a contract: types and presence, not yet bounds."""
    clean: list[pa.Table] = []
    suspect: list[Block] = []
    for piece, rows in _attempts(contract, block):
        if rows is None:
            suspect.append(piece)
        else:
            clean.append(rows)
    if not suspect:
        return Parsed(rows=pa.concat_tables(clean), rejects=REJECTS.empty_table())
    closer = _parse_lines(contract, suspect)
    return Parsed(rows=pa.concat_tables([*clean, closer.rows]).sort_by("line"), rejects=closer.rejects)


def readable(line: bytes) -> str:
    """What quarantine keeps of a line."""
    return line[: 4 * RAW_CHARACTERS].decode("utf-8", "replace").strip()[:RAW_CHARACTERS]


def _attempts(contract: Contract, block: Block) -> Iterator[tuple[Block, pa.Table | None]]:
    """The block in pieces: each with its rows if it holds nothing else, with None if it needs a closer look."""
    rows = _parse_clean(contract, block)
    if rows is None and block.lines > LINES_ALIKE:
        for piece in block.pieces(PIECES):
            yield from _attempts(contract, piece)
    else:
        yield block, rows


def _parse_clean(contract: Contract, block: Block) -> pa.Table | None:
    """The block's rows if every line is one row that fits; None if a closer look is needed.

    A newline cannot stand in a JSON text and no column is nested, so a line that begins with a brace begins a row.
    If all do and there are as many rows as lines, then each line is one row.
    """
    if not block.data.startswith(b"{") or NO_BRACE.search(block.data):
        return None
    try:
        table = pyarrow.json.read_json(
            pa.BufferReader(block.data),
            read_options=pyarrow.json.ReadOptions(use_threads=False, block_size=len(block.data)),
            parse_options=pyarrow.json.ParseOptions(
                explicit_schema=_text_schema(contract), unexpected_field_behavior="error"
            ),
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
    if not pa.types.is_timestamp(column.type):
        return True
    span = pc.min_max(values.cast(pa.int64())).as_py()
    shapes = pc.match_substring_regex(texts[column.name], f"^{TIMESTAMP}$")
    within = span["min"] is None or (span["min"] in INSTANTS and span["max"] in INSTANTS)
    return within and pc.all(shapes).as_py() is not False


@functools.lru_cache
def _text_schema(contract: Contract) -> pa.Schema:
    """Timestamps are read as text first, because Arrow's JSON reader takes other forms of them than the contract."""
    fields = [(c.name, pa.string() if pa.types.is_timestamp(c.type) else c.type) for c in contract.columns]
    return pa.schema(fields)


def _nullable(contract: Contract) -> pa.Schema:
    return pa.schema([pa.field(c.name, c.type) for c in contract.columns])


def _parse_lines(contract: Contract, blocks: Sequence[Block]) -> Parsed:
    """The closer look: each line's verdict, and the rows among them."""
    every = (line for block in blocks for line in enumerate(block.data.split(b"\n"), start=block.first))
    texts = {number: text.rstrip(b"\r") for number, text in every if text.strip()}
    lines = pa.table(
        {
            "line": pa.array(texts.keys(), pa.int64()),
            "text": pa.array(map(_decoded, texts.values()), pa.string()),
        }
    )
    with connect() as db:
        db.register("lines", lines)
        db.execute(f"CREATE TABLE judged AS {_judgement(contract)}")
        rows = db.sql(
            f"SELECT {_typed(contract)}, line FROM judged WHERE verdict IS NULL ORDER BY line"
        ).to_arrow_table()
        bad = db.sql(_rejects(contract)).to_arrow_table()
    raw = pa.array([readable(texts[number]) for number in bad["line"].to_pylist()], pa.string())
    rejects = bad.append_column("raw", raw).select(REJECTS.names).cast(REJECTS)
    return Parsed(rows=rows.cast(_nullable(contract).append(pa.field("line", pa.int64()))), rejects=rejects)


def _decoded(text: bytes) -> str | None:
    try:
        return text.decode()
    except UnicodeDecodeError:
        return None


def _judgement(contract: Contract) -> str:
    """SQL over ``lines(line, text)``: each line's types ``t`` and values ``v`` by column, and its verdict, null if
    good.
    """
    paths = "[" + ", ".join(f"'$.{column.name}'" for column in contract.columns) + "]"
    numbered = list(enumerate(contract.columns, start=1))
    rules = [
        "WHEN text IS NULL THEN 'invalid_utf8'",
        "WHEN NOT fine OR len(keys) <> len(list_distinct(keys)) THEN 'malformed_json'",
        *(f"WHEN t[{n}] IS NULL THEN 'missing_column:{c.name}'" for n, c in numbered if c.required),
        f"WHEN NOT list_has_all({[c.name for c in contract.columns]}, keys) THEN 'unexpected_column'",
        *(f"WHEN t[{n}] = 'NULL' THEN 'null_required:{c.name}'" for n, c in numbered if c.required),
        *(f"WHEN {_not_finite(n)} THEN 'not_a_number:{c.name}'" for n, c in numbered if _numeric(c)),
        *(f"WHEN t[{n}] <> 'NULL' AND NOT {_right_type(n, c)} THEN 'wrong_type:{c.name}'" for n, c in numbered),
        *(
            f"WHEN NOT {_instant(n)} THEN 'bad_timestamp:{c.name}'"
            for n, c in numbered
            if pa.types.is_timestamp(c.type)
        ),
    ]
    return f"""
        SELECT *, CASE {" ".join(rules)} END AS verdict
        FROM (SELECT *, CASE WHEN fine THEN json_keys(text) END AS keys,
                     CASE WHEN fine THEN json_type(text, {paths}) END AS t,
                     CASE WHEN fine THEN json_extract_string(text, {paths}) END AS v
              FROM (SELECT *, coalesce({_well_formed()}, false) AS fine FROM lines))
    """


def _well_formed() -> str:
    """SQL that is true for a JSON object: DuckDB's own check, less what it forgives."""
    commas = f"contains(text, ',') AND regexp_matches(regexp_replace(text, '{TEXTS}', '', 'g'), '{TRAILING_COMMA}')"
    return f"json_valid(text) AND regexp_matches(text, '^\\s*\\{{') AND NOT ({commas})"


def _numeric(column: Column) -> bool:
    return pa.types.is_integer(column.type) or pa.types.is_floating(column.type)


def _not_finite(n: int) -> str:
    return f"t[{n}] = 'DOUBLE' AND NOT coalesce(isfinite(try_cast(v[{n}] AS DOUBLE)), false)"


def _right_type(n: int, column: Column) -> str:
    """SQL that is true where the value has the column's JSON type."""
    if pa.types.is_integer(column.type):
        return f"(t[{n}] IN ('BIGINT', 'UBIGINT') AND try_cast(v[{n}] AS BIGINT) IS NOT NULL)"
    if pa.types.is_floating(column.type):
        return f"t[{n}] IN ('BIGINT', 'UBIGINT', 'DOUBLE')"
    return f"t[{n}] = '{'BOOLEAN' if pa.types.is_boolean(column.type) else 'VARCHAR'}'"


def _instant(n: int) -> str:
    """SQL that is true for a null and for an instant with its offset that is on the calendar and in range."""
    micros = f"epoch_us(try_cast(v[{n}] AS TIMESTAMPTZ)) BETWEEN {INSTANTS.start} AND {INSTANTS.stop - 1}"
    return f"(v[{n}] IS NULL OR (regexp_full_match(v[{n}], '{TIMESTAMP}') AND coalesce({micros}, false)))"


def _typed(contract: Contract) -> str:
    """SQL select list: the values of a good line in the contract's types."""
    names = {"int64": "BIGINT", "double": "DOUBLE", "bool": "BOOLEAN", "string": "VARCHAR"}
    return ", ".join(
        f'CAST(v[{n}] AS {names.get(str(column.type), "TIMESTAMPTZ")}) AS "{column.name}"'
        for n, column in enumerate(contract.columns, start=1)
    )


def _rejects(contract: Contract) -> str:
    """SQL select of ``REJECTS`` but for the raw text: what can be read of a bad line helps the triggers to count it."""
    place = {column.name: n for n, column in enumerate(contract.columns, start=1)}
    at, who, failed = (place.get(name) for name in ("timestamp", "agent_name", "error"))
    return f"""
        SELECT line, split_part(verdict, ':', 1) AS reason, nullif(split_part(verdict, ':', 2), '') AS "column",
               {f"CASE WHEN {_instant(at)} THEN try_cast(v[{at}] AS TIMESTAMPTZ) END" if at else "NULL"} AS timestamp,
               {f"CASE WHEN v[{who}] IN ({known_agents()}) THEN v[{who}] END" if who else "NULL"} AS agent_name,
               {f"CASE WHEN t[{failed}] = 'BOOLEAN' THEN v[{failed}] = 'true' END" if failed else "NULL"} AS error
        FROM judged WHERE verdict IS NOT NULL ORDER BY line
    """


def known_agents() -> str:
    """The agents' registry as an SQL list."""
    return ", ".join(f"'{name}'" for name in sorted(REGISTRIES["agents"]))

"""From JSON lines to typed rows, and to a reason for each line that is not one.

A block that holds nothing but well-formed rows, which is nearly every block, is read by Arrow in one go. Any other block is read
line by line, in SQL, and each line gets its verdict. Both ways give the same rows (a property test holds them to it).
"""

import functools
from dataclasses import dataclass

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

from lake.contracts.base import Column, Contract
from lake.sources.files import Block

PARSER_VERSION = 1
"""Part of every ingestion key. A golden test forces it to move when the results of parsing or checking move."""

RAW_CHARACTERS = 2_000
"""How much of a rejected line quarantine keeps; the raw zone keeps all of it."""
TIMESTAMP = r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?(Z|[+-]\d{2}(:?\d{2})?)"
ONE_ROW_A_LINE = (b"}{", b"} {", b"\n\n", b"\n\r\n")
"""What Arrow would read as rows that do not stand one on each line; a text may hold it too, and is then read line by line."""

REJECTS = pa.schema(
    [("line", pa.int64()), ("reason", pa.string()), ("column", pa.string()), ("raw", pa.string())]
    + [("timestamp", pa.timestamp("us", tz="UTC")), ("agent_name", pa.string()), ("error", pa.bool_())]
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
    rows = _parse_clean(contract, block)
    return Parsed(rows=rows, rejects=REJECTS.empty_table()) if rows else _parse_lines(contract, block)


def raw_lines(block: Block, lines: pa.ChunkedArray) -> pa.Array:
    """The first characters of these lines of a block."""
    wanted = lines.to_pylist()
    if not wanted:
        return pa.array([], pa.string())
    texts = block.data.split(b"\n")
    return pa.array([_readable(texts[number - block.first]) for number in wanted], pa.string())


def _readable(line: bytes) -> str:
    return line[: 4 * RAW_CHARACTERS].decode("utf-8", "replace").strip()[:RAW_CHARACTERS]


def _parse_clean(contract: Contract, block: Block) -> pa.Table | None:
    """The block's rows if every line is one row that fits; None if a closer look is needed."""
    if any(mark in block.data for mark in ONE_ROW_A_LINE) or block.data[:1] in (b"\n", b"\r"):
        return None
    try:
        table = pyarrow.json.read_json(
            pa.BufferReader(block.data),
            read_options=pyarrow.json.ReadOptions(block_size=max(1 << 20, len(block.data) // 4)),
            parse_options=pyarrow.json.ParseOptions(
                explicit_schema=_text_schema(contract), unexpected_field_behavior="error"
            ),
        )
        rows = table.select(contract.arrow_schema.names).cast(_nullable(contract))
        rows.validate(full=True)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None
    if any(rows[column.name].null_count for column in contract.columns if column.required):
        return None
    if rows.num_rows != block.data.count(b"\n") + (not block.data.endswith(b"\n")):
        return None
    return rows.append_column("line", pa.array(range(block.first, block.first + rows.num_rows), pa.int64()))


@functools.lru_cache
def _text_schema(contract: Contract) -> pa.Schema:
    """Timestamps are read as text first, because Arrow's JSON reader takes other forms of them than the contract."""
    fields = [(c.name, pa.string() if pa.types.is_timestamp(c.type) else c.type) for c in contract.columns]
    return pa.schema(fields)


def _nullable(contract: Contract) -> pa.Schema:
    return pa.schema([pa.field(c.name, c.type) for c in contract.columns])


def _parse_lines(contract: Contract, block: Block) -> Parsed:
    """The closer look: each line's verdict, and the rows among them."""
    texts = [text.rstrip(b"\r") for text in block.data.split(b"\n")]
    numbered = [(number, text) for number, text in enumerate(texts, start=block.first) if text.strip()]
    lines = pa.table(
        {
            "line": pa.array([number for number, _ in numbered], pa.int64()),
            "text": pa.array([_decoded(text) for _, text in numbered], pa.string()),
        }
    )
    with duckdb.connect() as db:
        db.execute("SET TimeZone = 'UTC'")
        db.register("lines", lines)
        db.execute(f"CREATE TABLE judged AS {_judgement(contract)}")
        rows = db.sql(
            f"SELECT {_typed(contract)}, line FROM judged WHERE verdict IS NULL ORDER BY line"
        ).to_arrow_table()
        bad = db.sql(_rejects(contract)).to_arrow_table()
    raw = raw_lines(block, bad["line"])
    rejects = bad.append_column("raw", raw).select(REJECTS.names).cast(REJECTS)
    return Parsed(rows=rows.cast(_nullable(contract).append(pa.field("line", pa.int64()))), rejects=rejects)


def _decoded(text: bytes) -> str | None:
    try:
        return text.decode()
    except UnicodeDecodeError:
        return None


def _judgement(contract: Contract) -> str:
    """SQL over ``lines(line, text)``: each line's types ``t`` and values ``v`` by column, and its verdict, null if good."""
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
              FROM (SELECT *, coalesce(json_valid(text) AND starts_with(ltrim(text), '{{'), false) AS fine FROM lines))
    """


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
    """SQL that is true for a null and for an ISO 8601 instant with its offset that is on the calendar."""
    shape = f"regexp_full_match(v[{n}], '{TIMESTAMP}') AND try_cast(v[{n}] AS TIMESTAMPTZ) IS NOT NULL"
    return f"(v[{n}] IS NULL OR ({shape}))"


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
    at, who, failed = (
        f"v[{place[name]}]" if name in place else "NULL" for name in ("timestamp", "agent_name", "error")
    )
    return f"""
        SELECT line, split_part(verdict, ':', 1) AS reason, nullif(split_part(verdict, ':', 2), '') AS "column",
               try_cast({at} AS TIMESTAMPTZ) AS timestamp, CAST({who} AS VARCHAR) AS agent_name,
               try_cast({failed} AS BOOLEAN) AS error
        FROM judged WHERE verdict IS NOT NULL ORDER BY line
    """

"""Transforms on DuckDB, as SQL that is compiled once a process: Ibis takes up to a second to compile a larger one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import ibis
import pyarrow as pa

from lake.tables.engine import as_ibis, connect, ibis_engine

Transform = Callable[..., ibis.Table]


@dataclass(frozen=True, kw_only=True, slots=True)
class Compiled:
    """A transform for tables of certain names and schemas."""

    sql: str
    schema: pa.Schema
    """Of its rows, as Ibis infers it; DuckDB's sums of integers, for example, come as decimals."""


def run_transform(transform: Transform, tables: Mapping[str, pa.Table]) -> pa.Table:
    """The rows that a transform gives.

    Args:
        transform: takes one Ibis table for each of ``tables``, in their order, and depends on nothing else.
        tables: its inputs, by the names that the SQL has for them.
    """
    compiled = _compile(transform, tuple((name, rows.schema) for name, rows in tables.items()))
    connection = connect()
    for name, rows in tables.items():
        connection.register(name, rows)
    return connection.sql(compiled.sql).to_arrow_table().cast(compiled.schema)


@lru_cache
def _compile(transform: Transform, schemas: tuple[tuple[str, pa.Schema], ...]) -> Compiled:
    engine = ibis_engine()
    expression = transform(*(as_ibis(engine, name, schema.empty_table()) for name, schema in schemas))
    return Compiled(sql=engine.compile(expression), schema=expression.schema().to_pyarrow())

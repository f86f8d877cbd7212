"""Transforms on DuckDB, as SQL that is compiled once a process: Ibis takes up to a second to compile a larger one."""

from collections.abc import Callable, Mapping
from functools import lru_cache

import ibis
import pyarrow as pa

from lake.tables.engine import as_ibis, ibis_engine, query

Transform = Callable[..., ibis.Table]


def run_transform(transform: Transform, tables: Mapping[str, pa.Table]) -> pa.Table:
    """The rows of a transform: a function of one Ibis table for each of ``tables``, in their order, and of nothing
    else.
    """
    sql, schema = _compile(transform, tuple((name, rows.schema) for name, rows in tables.items()))
    return query(sql, **tables).cast(schema)


@lru_cache
def _compile(transform: Transform, schemas: tuple[tuple[str, pa.Schema], ...]) -> tuple[str, pa.Schema]:
    """The SQL and the schema of its rows, as Ibis infers it; DuckDB's sums of integers come as decimals."""
    engine = ibis_engine()
    expression = transform(*(as_ibis(engine, name, schema.empty_table()) for name, schema in schemas))
    return engine.compile(expression), expression.schema().to_pyarrow()

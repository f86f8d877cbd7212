"""DuckDB as this package uses it: in process, in memory, its session in UTC, Arrow in and Arrow out."""

from typing import TYPE_CHECKING

import pyarrow as pa

if TYPE_CHECKING:
    import duckdb
    import ibis
    from ibis.backends.duckdb import Backend


def connect() -> "duckdb.DuckDBPyConnection":
    """A fresh in-memory DuckDB whose days and casts are in UTC, whatever the machine's zone."""
    import duckdb

    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def ibis_engine() -> "Backend":
    """The same, as an Ibis backend."""
    import ibis

    return ibis.duckdb.from_connection(connect())


def definition_of(expression: "ibis.Table") -> str:
    """An expression as SQL of DuckDB: the same text in every process.

    Ibis keeps the columns that are dropped in a set, and so writes them in an order that the hash seed decides.
    """
    import ibis
    import sqlglot
    from sqlglot import exp

    tree = sqlglot.parse_one(str(ibis.to_sql(expression, dialect="duckdb")), read="duckdb")
    for star in tree.find_all(exp.Star):
        if left_out := star.args.get("except_"):
            star.set("except_", sorted(left_out, key=str))
    return tree.sql(dialect="duckdb")


def as_ibis(engine: "Backend", name: str, rows: pa.Table) -> "ibis.Table":
    """The rows as an Ibis table, without a copy."""
    engine.con.register(name, rows)
    return engine.table(name)

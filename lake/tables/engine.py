"""DuckDB as this project uses it: in process, in memory, with its session in UTC; it reads and returns Arrow."""

from typing import TYPE_CHECKING

import pyarrow as pa

if TYPE_CHECKING:
    import duckdb
    import ibis
    from ibis.backends.duckdb import Backend


def connect(**config: str | bool | int | float | list[str]) -> "duckdb.DuckDBPyConnection":
    """A new in-memory DuckDB with these settings, whose days and casts are in UTC, whatever the machine's zone."""
    import duckdb

    connection = duckdb.connect(config=config)
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def query(sql: str, **tables: pa.Table) -> pa.Table:
    """The rows that a query over ``tables`` gives."""
    with connect() as db:
        for name, rows in tables.items():
            db.register(name, rows)
        return db.sql(sql).to_arrow_table()


def ibis_engine() -> "Backend":
    """A new in-memory DuckDB in UTC as an Ibis backend."""
    import ibis

    return ibis.duckdb.from_connection(connect())


def definition_of(expression: "ibis.Table") -> str:
    """An expression as DuckDB's SQL, the same text in every process.

    Ibis keeps dropped columns in a set and so writes them in an order that depends on the hash seed.
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

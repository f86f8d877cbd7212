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


def as_ibis(engine: "Backend", name: str, rows: pa.Table) -> "ibis.Table":
    """The rows as an Ibis table, without a copy."""
    engine.con.register(name, rows)
    return engine.table(name)

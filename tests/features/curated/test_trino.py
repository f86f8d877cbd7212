"""The SQL for Trino: all of it parses as Trino's, and what reads the lake alone gives the right rows on DuckDB."""

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa
import pytest
import sqlglot
from sqlglot import exp

from features.curated.build import build_named
from features.curated.tables import TABLES
from lake.contracts import contract, contracts
from lake.contracts.agent_interactions import AGENT_INTERACTIONS
from lake.lake import open_lake
from lake.tables.engine import connect
from settings import read_settings

FOLDER = Path(__file__).parents[3] / "deploy" / "trino"
QUERIES = sorted((FOLDER / "queries").glob("*.sql"))
OF_THE_LAKE = [path for path in QUERIES if not path.name.startswith("federated_")]
PEERS = {"prometheus", "loki"}


def statements(path: Path) -> list[exp.Expr]:
    parsed = sqlglot.parse(path.read_text(), read="trino", error_level=sqlglot.ErrorLevel.RAISE)
    return [one for one in parsed if one is not None]


@pytest.fixture(scope="module")
def warehouse(
    real_interactions: pa.Table, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB that has the lake's tables under Trino's names, with two real weeks in them, and the views."""
    lake = open_lake(read_settings(home=tmp_path_factory.mktemp("lake"), lake="test"))
    lake.tables.append(AGENT_INTERACTIONS, real_interactions, key="real")
    names = [one.contract.name for one in TABLES]
    versions = [version for name in names for version in build_named(lake, name).version]
    with connect() as db:
        db.execute("ATTACH ':memory:' AS fuelline; ATTACH ':memory:' AS star")
        db.execute("CREATE SCHEMA fuelline.processed; CREATE SCHEMA fuelline.curated; CREATE SCHEMA fuelline.ml")
        for version in [lake.tables.current(AGENT_INTERACTIONS), *versions]:
            assert version
            db.register("read", lake.tables.read(version))
            db.execute(f"CREATE TABLE fuelline.{version.table} AS FROM read")
        db.register("read", training_sets())
        db.execute("CREATE TABLE fuelline.ml.training_datasets AS FROM read")
        for one in statements(FOLDER / "views.sql"):
            db.execute(on_duckdb(one))
        yield db


def training_sets() -> pa.Table:
    """One training set that ends a day before the interactions do."""
    cut = pd.Timestamp("2026-11-08", tz="UTC")
    row = {"training_set_id": "a", "model": "agents", "cut": cut, "split_at": cut, "rows": 9, "train_rows": 7}
    return pa.Table.from_pylist([row], schema=contract("ml.training_datasets").arrow_schema)


def on_duckdb(one: exp.Expr) -> str:
    """A statement of Trino's as DuckDB's; who is asked for permission is a matter of Trino alone."""
    for security in list(one.find_all(exp.SqlSecurityProperty)):
        security.pop()
    return one.sql(dialect="duckdb").replace(" SECURITY INVOKER", "")


def ask(db: duckdb.DuckDBPyConnection, name: str) -> pd.DataFrame:
    [query] = statements(FOLDER / "queries" / f"{name}.sql")
    return db.sql(on_duckdb(query)).to_arrow_table().to_pandas()


@pytest.mark.parametrize("path", [FOLDER / "views.sql", *QUERIES], ids=lambda path: path.stem)
def test_every_statement_parses_as_trino_and_reads_what_there_is(path: Path) -> None:
    found = statements(path)
    assert found
    defined = {table.name for one in statements(FOLDER / "views.sql") for table in one.find_all(exp.Table)}
    for table in (table for one in found for table in one.find_all(exp.Table)):
        if table.catalog == "fuelline":
            assert f"{table.db}.{table.name}" in {one.table for one in contracts().values()}
        elif table.catalog == "star":
            assert table.name in defined
        elif table.catalog:
            assert table.catalog in PEERS


def test_there_is_a_catalogue_for_each_that_a_statement_names() -> None:
    catalogues = {path.stem for path in (FOLDER / "catalog").glob("*.properties")}
    assert catalogues == {"fuelline", "star"} | PEERS
    for path in (FOLDER / "catalog").glob("*.properties"):
        assert "connector.name=" in path.read_text()
        assert "password=" not in path.read_text().replace("password=${ENV:", "")


def test_no_view_lets_a_text_through() -> None:
    texts = {"user_query", "response"}
    for one in statements(FOLDER / "views.sql"):
        assert texts.isdisjoint(column.name for column in one.find_all(exp.Column))


@pytest.mark.parametrize("path", OF_THE_LAKE, ids=lambda path: path.stem)
def test_every_query_of_the_lake_runs_over_real_rows(warehouse: duckdb.DuckDBPyConnection, path: Path) -> None:
    assert len(ask(warehouse, path.stem))


def test_the_queries_say_what_plain_pandas_says(warehouse: duckdb.DuckDBPyConnection, real_frame: pd.DataFrame) -> None:
    weeks = ask(warehouse, "agents_by_week").groupby("agent_name")["requests"].sum()
    assert weeks.to_dict() == real_frame["agent_name"].value_counts().to_dict()
    [row] = ask(warehouse, "training_sets").to_dict("records")
    assert row["calls_since"] == (real_frame["timestamp"] >= pd.Timestamp("2026-11-08", tz="UTC")).sum()
    versions = ask(warehouse, "model_versions")
    assert versions["requests"].sum() == len(real_frame)
    assert versions["rated"].sum() == real_frame["feedback"].count()
    recent = real_frame[real_frame["timestamp"] >= pd.Timestamp("2026-11-02", tz="UTC")]
    down = (recent["feedback"] == 0).fillna(False).astype(int) + recent["error"].astype(int)
    unhappy = down.groupby(recent["user_id"]).sum()
    told = ask(warehouse, "unhappy_users")
    assert (told["thumbs_down"] + told["errors"]).tolist() == sorted(unhappy, reverse=True)[:25]

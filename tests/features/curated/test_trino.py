"""The SQL for Trino: every statement parses, and those that read only the lake give the right rows on DuckDB."""

import re
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa
import pytest
import sqlglot
import yaml
from click.testing import CliRunner
from sqlglot import exp

from cli.main import main
from features.curated import star_schema
from features.curated.build import build_named
from features.curated.tables import TABLES
from lake.contracts import contract, contracts
from lake.contracts.agent_interactions import AGENT_INTERACTIONS
from lake.lake import open_lake
from lake.tables.engine import connect
from settings import read_settings

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "deploy" / "trino"
VIEWS = Path(star_schema.__file__).with_suffix(".sql")
QUERIES = sorted((FOLDER / "queries").glob("*.sql"))
OF_THE_LAKE = [path for path in QUERIES if not path.name.startswith("federated_")]
PEERS = {"prometheus", "loki"}


def statements(path: Path) -> list[exp.Expr]:
    parsed = sqlglot.parse(path.read_text(), read="trino", error_level=sqlglot.ErrorLevel.RAISE)
    return [statement for statement in parsed if statement is not None]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lake")


@pytest.fixture(scope="module")
def warehouse(real_interactions: pa.Table, home: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB that has the lake's tables under Trino's names, with two real weeks in them, and the views."""
    lake = open_lake(read_settings(home=home, lake="test"))
    lake.tables.append(AGENT_INTERACTIONS, real_interactions, key="real")
    names = [table.contract.name for table in TABLES]
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
        for statement in statements(VIEWS):
            db.execute(on_duckdb(statement))
        yield db


def training_sets() -> pa.Table:
    """One training set that ends a day before the interactions do."""
    cut = pd.Timestamp("2026-11-08", tz="UTC")
    row = {"training_set_id": "a", "model": "agents", "cut": cut, "split_at": cut, "rows": 9, "train_rows": 7}
    return pa.Table.from_pylist([row], schema=contract("ml.training_datasets").arrow_schema)


def on_duckdb(statement: exp.Expr) -> str:
    """A statement for Trino in DuckDB's SQL, without Trino's option of whose permissions apply."""
    for security in list(statement.find_all(exp.SqlSecurityProperty)):
        security.pop()
    return statement.sql(dialect="duckdb").replace(" SECURITY INVOKER", "")


def query_result(db: duckdb.DuckDBPyConnection, name: str) -> pd.DataFrame:
    [query] = statements(FOLDER / "queries" / f"{name}.sql")
    return db.sql(on_duckdb(query)).to_arrow_table().to_pandas()


@pytest.mark.parametrize("path", [VIEWS, *QUERIES], ids=lambda path: path.stem)
def test_every_statement_parses_as_trino_and_reads_existing_tables(path: Path) -> None:
    found = statements(path)
    assert found
    defined = {table.name for view in statements(VIEWS) for table in view.find_all(exp.Table)}
    for table in (table for statement in found for table in statement.find_all(exp.Table)):
        if table.catalog == "fuelline":
            assert f"{table.db}.{table.name}" in {contract.table for contract in contracts().values()}
        elif table.catalog == "star":
            assert table.name in defined
        elif table.catalog:
            assert table.catalog in PEERS


def test_every_catalogue_that_a_statement_names_is_configured() -> None:
    catalogues = {path.stem for path in (FOLDER / "catalog").glob("*.properties")}
    assert catalogues == {"fuelline", "star"} | PEERS
    for path in (FOLDER / "catalog").glob("*.properties"):
        assert "connector.name=" in path.read_text()
        assert "password=" not in path.read_text().replace("password=${ENV:", "")


@pytest.mark.parametrize(
    ("values", "folder", "page"),
    [("values.yaml", "catalog", "query.md"), ("maintenance/values.yaml", "maintenance", "table-care.md")],
)
def test_the_values_of_trino_mount_the_catalogues_and_their_secret(values: str, folder: str, page: str) -> None:
    chart = yaml.safe_load((FOLDER / values).read_text())
    [mount] = chart["coordinator"]["configMounts"]
    assert f"catalog.config-dir={mount['path']}" in chart["additionalConfigProperties"]
    assert chart["server"]["workers"] == 0 or chart["worker"]["configMounts"] == [mount]
    generators = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())["configMapGenerator"]
    [files] = [one["files"] for one in generators if one["name"] == mount["configMap"]]
    assert {FOLDER / name for name in files} == set((FOLDER / folder).glob("*.properties"))
    secret = chart["envFrom"][0]["secretRef"]["name"]
    [created] = re.findall(
        rf"create secret generic {secret} \\\n(.*?)\nhelm", (ROOT / "docs" / page).read_text(), re.DOTALL
    )
    named = {name for path in (FOLDER / folder).iterdir() for name in re.findall(r"\{ENV:(\w+)\}", path.read_text())}
    assert set(re.findall(r"--from-literal=(\w+)=", created)) == named


def test_every_documented_statement_is_terminated() -> None:
    """``trino --file`` refuses a file whose last statement has no semicolon."""
    files = {path.relative_to(ROOT): path.read_text() for path in [VIEWS, *ROOT.glob("deploy/**/*.sql")]}
    blocks = {
        f"{page.name}, block {number}": block
        for page in ROOT.glob("docs/*.md")
        for number, block in enumerate(re.findall(r"```sql\n(.*?)```", page.read_text(), re.DOTALL))
    }
    assert len(files) > len(QUERIES)
    assert blocks
    open_ended = [name for name, text in (files | blocks).items() if not code(text).endswith(";")]
    assert not open_ended


def code(text: str) -> str:
    """A file's SQL without comments; the commands of psql, which take no semicolon, count as comments."""
    return re.sub(r"--.*$|^\\.*$", "", text, flags=re.MULTILINE).strip()


def test_the_views_of_tables_that_the_lake_does_not_have_are_left_out_and_named() -> None:
    tables = {table for view in star_schema.views() for table in view.tables}
    assert tables <= {contract.table for contract in contracts().values()}
    whole = star_schema.script(tables).strip().split("\n\n")
    assert [f"{view.statement};" for view in star_schema.views()] == whole[1:]
    part = star_schema.script({"processed.agent_interactions"})
    assert code(part).endswith(";")
    made = [view.name for view in star_schema.views() if f"VIEW {view.name} " in part]
    assert made == ["star.analytics.fact_interaction"]
    assert len(sqlglot.parse(part, read="trino")) == 2  # and the schema
    assert "-- star.analytics.dim_user is left out: curated.user_interaction_summary has no rows yet." in part


@pytest.mark.usefixtures("warehouse")
def test_the_commands_print_what_the_lake_has(home: Path) -> None:
    """It has interactions and curated tables, and no training set."""
    env = {"FUELLINE_HOME": str(home), "FUELLINE_LAKE": "test"}
    views, maintenance = (
        CliRunner().invoke(main, ["docs", f"trino-{what}"], env=env) for what in ("views", "maintenance")
    )
    assert (views.exit_code, maintenance.exit_code) == (0, 0)
    assert re.findall("-- (.*) is left out", views.stdout) == ["star.analytics.dim_training_set"]
    maintained = {".".join(names) for names in re.findall('ANALYZE fuelline."(.*)"."(.*)";', maintenance.stdout)}
    filled = {table for view in star_schema.views() for table in view.tables} - {"ml.training_datasets"}
    assert filled <= maintained
    assert maintained <= filled | {table.contract.table for table in TABLES}


def test_no_view_exposes_texts() -> None:
    texts = {"user_query", "response"}
    for statement in statements(VIEWS):
        assert texts.isdisjoint(column.name for column in statement.find_all(exp.Column))


@pytest.mark.parametrize("path", OF_THE_LAKE, ids=lambda path: path.stem)
def test_every_query_of_the_lake_runs_over_real_rows(warehouse: duckdb.DuckDBPyConnection, path: Path) -> None:
    assert len(query_result(warehouse, path.stem))


def test_the_queries_equal_plain_pandas(warehouse: duckdb.DuckDBPyConnection, real_frame: pd.DataFrame) -> None:
    weeks = query_result(warehouse, "agents_by_week").groupby("agent_name")["requests"].sum()
    assert weeks.to_dict() == real_frame["agent_name"].value_counts().to_dict()
    [row] = query_result(warehouse, "training_sets").to_dict("records")
    assert row["calls_since"] == (real_frame["timestamp"] >= pd.Timestamp("2026-11-08", tz="UTC")).sum()
    versions = query_result(warehouse, "model_versions")
    assert versions["requests"].sum() == len(real_frame)
    assert versions["rated"].sum() == real_frame["feedback"].count()
    recent = real_frame[real_frame["timestamp"] >= pd.Timestamp("2026-11-02", tz="UTC")]
    down = (recent["feedback"] == 0).fillna(False).astype(int) + recent["error"].astype(int)
    unhappy = down.groupby(recent["user_id"]).sum()
    users_found = query_result(warehouse, "unhappy_users")
    assert (users_found["thumbs_down"] + users_found["errors"]).tolist() == sorted(unhappy, reverse=True)[:25]

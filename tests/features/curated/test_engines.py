"""One definition for three engines: DuckDB and Spark give equal rows, and the SQL for Trino is valid."""

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ibis
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlglot
from sqlglot import exp

from features.batch.compute import view_rows, view_windows
from features.curated import build, datasets
from features.curated.tables import AGENT_PERFORMANCE, CLUSTER_HEALTH, TABLES, USER_SUMMARY, Curated
from features.definitions.views import AGENT_FEATURES, INFRASTRUCTURE_FEATURES, View
from lake.contracts.agent_interactions import AGENT_FEEDBACK
from lake.contracts.training_sets import TRAINING_SETS
from lake.tables.engine import as_ibis, ibis_engine
from tests.features import clusters

if TYPE_CHECKING:
    from ibis.backends.pyspark import Backend

FAR = datetime(2027, 1, 1, tzinfo=UTC)
SET = pa.schema([TRAINING_SETS.arrow_schema.field(name) for name in datasets.COLUMNS])

QUICK_START = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -XX:CICompilerCount=1"
"""Java options for a run of a minute: its optimizing compiler would take more of the processor than the queries."""


@pytest.fixture(scope="module")
def spark(need_binary: Any, tmp_path_factory: pytest.TempPathFactory) -> "Iterator[Backend]":
    """A Spark of this module's own, its session in UTC."""
    need_binary("java", "openjdk-17-jre-headless")
    from pyspark.sql import SparkSession

    folder = tmp_path_factory.mktemp("spark")
    settings = {
        "spark.ui.enabled": "false",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": "1",
        "spark.sql.adaptive.enabled": "false",
        "spark.sql.codegen.wholeStage": "false",  # few rows: compiling a query costs more than running it
        "spark.sql.codegen.factoryMode": "NO_CODEGEN",
        "spark.sql.warehouse.dir": str(folder / "warehouse"),
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
    }
    builder = SparkSession.builder.master("local[1]")
    for name, value in settings.items():
        builder = builder.config(name, value)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("JDK_JAVA_OPTIONS", QUICK_START)
        session = builder.getOrCreate()
    yield ibis.pyspark.connect(session)
    session.stop()


@pytest.fixture(scope="module")
def late_feedback(real_interactions: pa.Table) -> pa.Table:
    """Feedback that comes late: some twice, some too late to count."""
    rows = real_interactions.slice(0, 3000).to_pylist()
    ratings = [
        {"interaction_id": row["interaction_id"], "value": n % 2, "timestamp": row["timestamp"] + timedelta(hours=wait)}
        for n, row in enumerate(rows)
        for wait in ((n * 5) % 300, (n * 11) % 200 + 1000 * (n % 3))
    ]
    return pa.Table.from_pylist(ratings, schema=AGENT_FEEDBACK.arrow_schema)


def on_spark(spark: "Backend", expression: Any, tables: dict[str, pa.Table], folder: Path) -> pa.Table:
    """The transform on Spark, over Parquet copies."""
    inputs = []
    for name, rows in tables.items():
        pq.write_table(rows, folder / f"{name}.parquet")
        inputs.append(spark.read_parquet(str(folder / f"{name}.parquet"), table_name=name))
    return spark.to_pyarrow(expression(*inputs))


def ordered(rows: pa.Table, fields: pa.Schema, key: tuple[str, ...]) -> pd.DataFrame:
    typed = rows.select(fields.names).cast(fields)
    return typed.sort_by([(name, "ascending") for name in key]).to_pandas()


@pytest.fixture(scope="module")
def known(real_interactions: pa.Table, late_feedback: pa.Table) -> dict[str, pa.Table]:
    """Rows of every input by table: real interactions, and generated measurements of their first day."""
    day = pd.Timestamp("2026-10-26", tz="UTC").to_pydatetime()
    present = pa.Table.from_pylist(
        [{"cluster": "studio", "hour": day + timedelta(hours=hour), "restarts": 7} for hour in (1, 30)],
        schema=pa.schema([field.with_nullable(True) for field in CLUSTER_HEALTH.contract.arrow_schema]),
    )
    return {
        "processed.agent_interactions": real_interactions,
        "processed.agent_feedback": late_feedback,
        "processed.metrics": clusters.metrics(clusters.a_day_of_metrics(day)),
        "processed.logs": clusters.logs(clusters.a_day_of_lines(day)),
        "processed.kubernetes_events": clusters.events(clusters.a_day_of_events(day)),
        CLUSTER_HEALTH.contract.table: present,
    }


def inputs_of(curated: Curated, known: dict[str, pa.Table]) -> dict[str, pa.Table]:
    """The inputs of the transform, in its order."""
    return {
        read.contract.table.replace(".", "_"): known[read.contract.table].select(read.columns) for read in curated.read
    }


@pytest.mark.parametrize("curated", TABLES, ids=lambda table: table.contract.name)
def test_spark_gives_the_rows_that_duckdb_gives(
    spark: "Backend", curated: Curated, known: dict[str, pa.Table], tmp_path: Path
) -> None:
    tables = inputs_of(curated, known)
    expected = build.compute(curated, list(tables.values()))
    found = on_spark(spark, curated.transform, tables, tmp_path)
    assert expected.num_rows > 50
    empty = [name for name in expected.column_names if expected[name].null_count == expected.num_rows]
    assert not empty, "each column has values"
    pd.testing.assert_frame_equal(
        ordered(found, expected.schema, curated.contract.key), ordered(expected, expected.schema, curated.contract.key)
    )


@pytest.mark.parametrize("view", [AGENT_FEATURES, INFRASTRUCTURE_FEATURES], ids=lambda view: view.name)
def test_spark_gives_the_features_that_duckdb_gives(
    spark: "Backend", view: View, known: dict[str, pa.Table], tmp_path: Path
) -> None:
    tables = {
        read.contract.name.replace(".", "_"): known[read.contract.table].select(read.columns) for read in view.inputs
    }
    rows = list(tables.values())
    with_windows = [table for table, read in zip(rows, view.inputs, strict=True) if read.windows]
    wanted = view_windows(view, FAR, *with_windows)
    expected = view_rows(view, wanted, *rows)
    fields = pa.schema([field for field in expected.schema if field.name != "created_timestamp"])
    found = on_spark(spark, view.transform, {**tables, "wanted": wanted}, tmp_path)
    assert expected.num_rows > 50
    pd.testing.assert_frame_equal(
        ordered(found, fields, view.contract.key), ordered(expected, fields, view.contract.key)
    )


def sets(real_interactions: pa.Table) -> pa.Table:
    """Two training sets of real rows, without their text."""
    rows = real_interactions.sort_by("timestamp")
    half = rows.num_rows // 2
    made = []
    for name, part in (("a", rows.slice(0, half)), ("b", rows.slice(half))):
        count = part.num_rows
        plain = part.select(["timestamp", "agent_name", "user_id", "feedback"])
        plain = plain.append_column("training_set_id", pa.array([name] * count))
        plain = plain.append_column("split", pa.array(["train" if n < 0.8 * count else "test" for n in range(count)]))
        plain = plain.append_column("weight", pa.array([0.25 * (n % 3) for n in range(count)]))
        made.append(plain.select(SET.names).cast(SET))
    return pa.concat_tables(made)


def test_spark_lists_the_training_sets_that_duckdb_lists(
    spark: "Backend", real_interactions: pa.Table, tmp_path: Path
) -> None:
    from features.curated.transforms import training_datasets

    recorded = datasets.Trainings(
        training_set_id="a",
        model="agents",
        cut="2026-11-09T00:00:00+00:00",
        inputs="x",
        trainings=2,
        model_versions=None,
    )
    rows = sets(real_interactions)
    expected = datasets.compute(rows, [recorded])
    listed = pa.Table.from_pylist(
        [{"training_set_id": "a", "model": "agents", "cut": pd.Timestamp(recorded.cut), "inputs": "x", "trainings": 2}],
        schema=datasets.TRAININGS,
    )
    found = on_spark(spark, training_datasets, {"sets": rows, "trainings": listed}, tmp_path)
    key = ("training_set_id",)
    pd.testing.assert_frame_equal(ordered(found, expected.schema, key), ordered(expected, expected.schema, key))


def test_a_definition_is_the_same_text_in_every_process() -> None:
    """A text that differs between processes would make each of them rebuild the tables."""
    code = "from features.curated import datasets, tables"
    code += "; print(*(table.definition for table in tables.TABLES), datasets.definition(), sep=chr(10))"
    seed = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
    environment = {**os.environ, "PYTHONHASHSEED": seed}
    definitions = subprocess.check_output([sys.executable, "-c", code], env=environment, text=True)
    assert definitions.splitlines() == [*(table.definition for table in TABLES), datasets.definition()]


EXPRESSIONS = {
    **{table.contract.name: (lambda table=table: table.expression) for table in TABLES},  # type: ignore[misc]
    "ml.training_datasets": datasets.expression,
}


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_the_definition_compiles_for_trino_and_parses_as_trino(name: str) -> None:
    sql = str(ibis.to_sql(EXPRESSIONS[name](), dialect="trino"))
    [parsed] = sqlglot.parse(sql, read="trino", error_level=sqlglot.ErrorLevel.RAISE)
    assert isinstance(parsed, exp.Select)
    read = {f"{table.db}.{table.name}" for table in parsed.find_all(exp.Table) if table.db}
    assert read
    assert read <= {read.contract.table for table in TABLES for read in table.read} | {"ml.training_sets"}


@pytest.mark.parametrize("curated", [AGENT_PERFORMANCE, USER_SUMMARY, CLUSTER_HEALTH], ids=lambda c: c.contract.name)
def test_the_trino_sql_means_what_the_expression_means(curated: Curated, known: dict[str, pa.Table]) -> None:
    """Without a Trino: its SQL, translated to DuckDB by sqlglot, gives the same rows."""
    trino = str(ibis.to_sql(curated.expression, dialect="trino"))
    engine = ibis_engine()
    engine.con.execute("CREATE SCHEMA processed; CREATE SCHEMA curated")
    tables = inputs_of(curated, known)
    for table, rows in known.items():
        name = table.split(".")[1]
        as_ibis(engine, f"{name}_rows", rows)
        engine.con.execute(f"CREATE TABLE {table} AS FROM {name}_rows")
    sql = sqlglot.transpile(trino, read="trino", write="duckdb")[0]
    found = engine.con.sql(sql).to_arrow_table()
    expected = build.compute(curated, list(tables.values()))
    key = curated.contract.key
    pd.testing.assert_frame_equal(ordered(found, expected.schema, key), ordered(expected, expected.schema, key))

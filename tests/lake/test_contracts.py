"""The contracts: consistent, with the agreed bounds, and a generated page that is up to date."""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandera.errors
import pytest

from errors import UnknownName
from lake.contracts import contract, contracts
from lake.contracts.agent_interactions import AGENT_INTERACTIONS as CONTRACT
from lake.contracts.base import Classification, Contract
from lake.ingest.bounds import out_of_bounds
from lake.quality.score import UNREADABLE
from lake.tables.schema import iceberg_schema, partition_spec
from reports.contracts_page import page
from tests.lake.rows import interaction, table

EVERY = pytest.mark.parametrize("declared", contracts().values(), ids=lambda contract: contract.name)
PERSONAL = {
    *("user_id", "user_query", "response", "raw", "actor", "subject", "title", "attributes"),
    *("data", "data_base64", "extensions"),
}
PERSONAL_IN = {"processed.logs": {"message"}}
"""Columns that hold personal data in one data set and none in others."""


@EVERY
def test_every_contract_is_complete_and_consistent(declared: Contract) -> None:
    namespace, _, name = declared.name.partition(".")
    assert namespace in ("processed", "curated", "ml", "quarantine")
    assert name
    assert declared.owner
    assert declared.doc
    assert all(column.doc for column in declared.columns)
    assert declared.retention_days > 0
    assert declared.freshness_s > 0
    assert 0 < declared.completeness <= 1
    personal = PERSONAL | PERSONAL_IN.get(declared.name, set())
    columns = {column.name: column for column in declared.columns}
    assert {column.name for column in declared.columns if column.pii} == personal & set(columns)
    if personal & set(columns):
        assert declared.classification in (Classification.CONFIDENTIAL, Classification.RESTRICTED)
    for column in (name for rule in (declared.key, *declared.unique) for name in rule):
        assert columns[column].required, "a key with nulls identifies nothing"
    assert iceberg_schema(declared).column_names == declared.arrow_schema.names
    assert partition_spec(declared).fields


def test_all_data_sets_have_contracts() -> None:
    assert set(contracts()) >= {
        "processed.agent_interactions",
        "processed.model_predictions",
        "processed.agent_feedback",
        "ml.user_features",
        "ml.agent_features",
        "ml.training_sets",
        "quarantine.agent_interactions",
    }
    with pytest.raises(UnknownName, match=r"did you mean 'processed\.agent_feedback'"):
        contract("processed.agent_feedbak")


def test_the_contract_of_agent_interactions_has_the_agreed_values() -> None:
    assert CONTRACT.classification is Classification.CONFIDENTIAL
    assert (CONTRACT.retention_days, CONTRACT.freshness_s) == (180, 300)
    assert (CONTRACT.completeness, CONTRACT.parse_errors_max) == (0.99, 0.01)
    assert CONTRACT.partitions == [("day", "timestamp"), ("identity", "cluster")]
    assert [column.name for column in CONTRACT.columns if not column.required] == ["feedback"]
    assert contract("processed.model_predictions").retention_days == 365


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"latency_ms": 100}, None),
        ({"latency_ms": 99}, "latency_out_of_range"),
        ({"latency_ms": 30_000}, None),
        ({"latency_ms": 30_001}, "latency_out_of_range"),
        ({"latency_ms": 0, "error": True}, None),
        ({"latency_ms": -1, "error": True}, "latency_out_of_range"),
        ({"latency_ms": 30_001, "error": True}, "latency_out_of_range"),
        ({"tokens_used": 0}, "tokens_out_of_range"),
        ({"tokens_used": 0, "error": True}, None),
        ({"tokens_used": 100_000}, None),
        ({"tokens_used": 100_001}, "tokens_out_of_range"),
        ({"feedback": None}, None),
        ({"feedback": 2}, "feedback_out_of_range"),
        ({"feedback": -1}, "feedback_out_of_range"),
        ({"agent_name": "Bruno"}, "unknown_agent"),
        ({"user_query": "\U0001f600" * 100_000}, None),
        ({"user_query": "x" * 100_001}, "oversized_text"),
        ({"user_id": "x" * 257}, "oversized_text"),
        ({"timestamp": "2026-11-01T00:00:00Z"}, None),
        ({"timestamp": "2026-11-01T00:00:00.000001Z"}, "future_timestamp"),
    ],
)
def test_bounds_include_their_limits(change: dict[str, Any], reason: str | None) -> None:
    landed = datetime(2026, 11, 1, tzinfo=UTC)
    verdicts = out_of_bounds(CONTRACT, table([interaction(0), interaction(1, **change)]), landed)
    assert verdicts["reason"].to_pylist() == [None, reason]


def test_the_pandera_model_accepts_good_rows_and_rejects_bad_ones() -> None:
    good = table(interaction(n) for n in range(6)).to_pandas(types_mapper=_nullable_ints)
    CONTRACT.model.validate(good)
    for change in ({"latency_ms": 40_000}, {"feedback": 2}, {"cluster": "x" * 300}, {"tokens_used": -1}):
        with pytest.raises(pandera.errors.SchemaError):
            CONTRACT.model.validate(good.assign(**change))
    with pytest.raises(pandera.errors.SchemaError):
        CONTRACT.model.validate(good.drop(columns="cluster"))


def _nullable_ints(kind: Any) -> Any:
    import pandas as pd
    import pyarrow as pa

    return pd.Int64Dtype() if kind == pa.int64() else None


def test_pages_and_launch_plans_show_the_name_of_the_table_and_no_other() -> None:
    root = Path(__file__).parents[2]
    pages = [root / "README.md", root / "CHANGELOG.md", *root.glob("docs/*.md"), *root.glob("tests/flyte/snapshots/*")]
    pages += [*root.glob("deploy/trino/**/*.*"), *root.glob("features/curated/*.sql")]
    versioned = [declared for declared in contracts().values() if declared.table != declared.name]
    assert versioned
    for declared in versioned:
        other = re.compile(rf"\b{declared.name.split('.')[1]}\b")  # the table's name goes on with _v2
        assert [path.name for path in pages if other.search(path.read_text())] == []
        assert contract(declared.name) is contract(declared.table)


def test_the_committed_page_is_up_to_date_with_the_contracts() -> None:
    committed = Path(__file__).parents[2] / "docs" / "contracts.md"
    assert committed.read_text() == page(), "run: fuelline docs contracts > docs/contracts.md"
    assert all(f"| `{reason}` | " in page() for reason in UNREADABLE)

"""The transforms, against an independent computation that goes row by row."""

import hashlib
import json
from datetime import datetime, timedelta
from typing import Any

import ibis
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.batch.compute import view_rows, view_windows
from features.definitions import transforms
from features.definitions.views import AGENT_FEATURES, USER_FEATURES, VIEWS, View, ViewInput
from tests.features.conftest import FIRST_DAY, make_interactions

OF_CALLS = (USER_FEATURES, AGENT_FEATURES)
LATER = FIRST_DAY + timedelta(days=60)


def compute(view: View, interactions: pa.Table, upto: datetime = LATER) -> pa.Table:
    return view_rows(view, view_windows(view, upto, interactions), interactions)


def users_by_hand(rows: list[dict[str, Any]], end: datetime, user: str) -> dict[str, Any]:
    before = [r for r in rows if r["user_id"] == user and r["timestamp"] < end]
    names = sorted({r["agent_name"] for r in before})
    ok = [r["latency_ms"] for r in before if not r["error"]]
    return {
        "total_queries": len(before),
        "queries_last_7d": sum(r["timestamp"] >= end - timedelta(days=7) for r in before),
        "queries_last_24h": sum(r["timestamp"] >= end - timedelta(hours=24) for r in before),
        "avg_query_length": sum(len(r["user_query"]) for r in before) / len(before),
        "most_used_agent": max(names, key=lambda name: sum(r["agent_name"] == name for r in before)),
        "error_rate": sum(r["error"] for r in before) / len(before),
        "avg_latency_ms": sum(ok) / len(ok) if ok else None,
    }


def agents_by_hand(rows: list[dict[str, Any]], end: datetime, agent: str) -> dict[str, Any]:
    hour = [r for r in rows if r["agent_name"] == agent and end - timedelta(hours=1) <= r["timestamp"] < end]
    ok = sorted(r["latency_ms"] for r in hour if not r["error"])
    fives: dict[int, list[bool]] = {}
    for r in hour:
        fives.setdefault(r["timestamp"].minute // 5, []).append(r["error"])
    up = sum(sum(errors) < len(errors) / 2 for errors in fives.values())
    return {
        "requests_per_hour": len(hour),
        "latency_p50_ms": ok[-(-len(ok) * 50 // 100) - 1] if ok else None,
        "latency_p95_ms": ok[-(-len(ok) * 95 // 100) - 1] if ok else None,
        "error_rate": sum(r["error"] for r in hour) / len(hour),
        "token_usage_rate": sum(r["tokens_used"] for r in hour),
        "uptime_percentage": 100 * up / len(fives),
    }


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000), rows=st.integers(1, 200), days=st.integers(1, 10))
def test_every_feature_equals_a_row_by_row_computation(seed: int, rows: int, days: int) -> None:
    interactions = make_interactions(rows, days=days, seed=seed)
    by_row = interactions.to_pylist()
    for view, by_hand in ((USER_FEATURES, users_by_hand), (AGENT_FEATURES, agents_by_hand)):
        for row in compute(view, interactions).to_pylist():
            expected = by_hand(by_row, row["event_timestamp"], row[view.entity])
            for name in view.features:
                value = expected[name]
                assert row[name] == (pytest.approx(value, rel=1e-12) if isinstance(value, float) else value), name


def test_a_user_has_a_row_at_each_midnight_for_seven_days_after_an_interaction() -> None:
    interactions = make_interactions(3, days=1, users=1)
    ends = compute(USER_FEATURES, interactions)["event_timestamp"].to_pylist()
    assert ends == [FIRST_DAY + timedelta(days=n) for n in range(1, 8)]


def test_an_agent_has_a_row_at_the_end_of_each_hour_with_traffic() -> None:
    interactions = make_interactions(40, days=2)
    hours = {
        (r["agent_name"], r["timestamp"].replace(minute=0, second=0, microsecond=0)) for r in interactions.to_pylist()
    }
    rows = compute(AGENT_FEATURES, interactions).to_pylist()
    assert {(r["agent_name"], r["event_timestamp"] - timedelta(hours=1)) for r in rows} == hours


def test_an_interaction_on_the_window_end_belongs_to_the_next_window() -> None:
    interactions = make_interactions(1)
    on_the_hour = interactions.set_column(
        1,
        interactions.schema.field(1),
        pa.array([FIRST_DAY + timedelta(hours=5)]).cast(interactions.schema.field(1).type),
    )
    assert compute(AGENT_FEATURES, on_the_hour)["event_timestamp"].to_pylist() == [FIRST_DAY + timedelta(hours=6)]


def test_no_later_interaction_changes_a_row() -> None:
    interactions = make_interactions(200, days=6)
    end = FIRST_DAY + timedelta(days=3)
    seen = interactions.filter(
        pa.compute.less(interactions["timestamp"], pa.scalar(end, interactions["timestamp"].type))
    )
    for view in OF_CALLS:
        assert compute(view, interactions, end + view.delay).equals(compute(view, seen, end + view.delay))


def test_rows_are_available_by_the_schedule_and_not_by_the_clock() -> None:
    for view in OF_CALLS:
        rows = compute(view, make_interactions(50)).to_pylist()
        assert {row["created_timestamp"] - row["event_timestamp"] for row in rows} == {view.delay}


def test_a_window_is_due_only_once_its_materialization_is() -> None:
    interactions, midnight = make_interactions(50, days=1), FIRST_DAY + timedelta(days=1)
    assert compute(USER_FEATURES, interactions, midnight + timedelta(hours=2, microseconds=-1)).num_rows == 0
    assert compute(USER_FEATURES, interactions, midnight + timedelta(hours=2)).num_rows > 0


def test_the_machines_time_zone_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    interactions = make_interactions(60)
    expected = [compute(view, interactions) for view in OF_CALLS]
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    time.tzset()
    try:
        assert [compute(view, interactions) for view in OF_CALLS] == expected
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("dialect", ["trino", "databricks"])
@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)
def test_the_same_expressions_compile_for_trino_and_spark(view: View, dialect: str) -> None:
    tables = [ibis.table(ibis.Schema.from_pyarrow(_nullable(read)), name=read.contract.name) for read in view.inputs]
    wanted = ibis.table({view.entity: "string", "event_timestamp": "timestamp('UTC')"}, name="wanted")
    assert "SELECT" in ibis.to_sql(view.transform(*tables, wanted), dialect=dialect)
    with_windows = [table for table, read in zip(tables, view.inputs, strict=True) if read.windows]
    assert "SELECT" in ibis.to_sql(view.windows(*with_windows), dialect=dialect)


def _nullable(read: ViewInput) -> pa.Schema:
    return pa.schema([read.contract.arrow_schema.field(name).with_nullable(True) for name in read.columns])


def test_results_move_only_with_the_version() -> None:
    """A change of results must change ``transforms.VERSION``; update both values below then."""
    interactions = make_interactions(300, days=5, seed=7)
    digest = hashlib.sha256()
    for view in OF_CALLS:
        digest.update(json.dumps(compute(view, interactions).to_pylist(), default=str).encode())
    assert (transforms.VERSION, digest.hexdigest()[:16]) == (2, "02aa83dd97e4719f")

"""Training sets on a real lake: their rows, data cut and split, and that each is built once."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from errors import DataError
from features.batch.compute import compute_features
from features.definitions.views import INFRASTRUCTURE_FEATURES
from lake.contracts.agent_interactions import AGENT_FEEDBACK, AGENT_INTERACTIONS
from lake.contracts.telemetry import KUBERNETES_EVENTS, METRICS
from lake.contracts.training_sets import TRAINING_SETS
from lake.lake import Lake
from lake.tables.versions import TableVersion
from models.data.training_set import Weights, _split_at, build_training_set, read_training_set
from models.types import TrainingSet
from tests.features import clusters
from tests.features.conftest import FIRST_DAY, make_interactions

TTL = INFRASTRUCTURE_FEATURES.ttl
CUT = FIRST_DAY + timedelta(days=3)


def pinned(
    lake: Lake, rows: pa.Table | None = None, feedback: Sequence[tuple[str, int, datetime]] = ()
) -> dict[str, Any]:
    interactions = lake.tables.append(AGENT_INTERACTIONS, make_interactions(400) if rows is None else rows, key="rows")
    users, agents = compute_features(lake, interactions, FIRST_DAY + timedelta(days=30))
    rated: TableVersion | None = None
    if feedback:
        columns = dict(
            zip(("interaction_id", "value", "timestamp"), map(list, zip(*feedback, strict=True)), strict=True)
        )
        rated = lake.tables.append(
            AGENT_FEEDBACK, pa.table(columns, schema=AGENT_FEEDBACK.arrow_schema), key="feedback"
        )
    return {"interactions": interactions, "feedback": rated, "user_features": users, "agent_features": agents}


def build(lake: Lake, inputs: dict[str, Any], **changes: Any) -> TrainingSet:
    return build_training_set(lake, **{"model": "agents", "cut": CUT, **inputs, **changes})


def rows_of(lake: Lake, built: TrainingSet) -> list[dict[str, Any]]:
    return [row for split in ("train", "test") for row in read_training_set(lake, built, split).to_pylist()]


def test_each_interaction_has_the_known_features_of_its_cluster_and_null_where_unmeasured(lake: Lake) -> None:
    lake.tables.append(METRICS, clusters.metrics(clusters.a_day_of_metrics(FIRST_DAY)), key="a")
    lake.tables.append(KUBERNETES_EVENTS, clusters.events(clusters.a_day_of_events(FIRST_DAY)), key="a")
    rows = make_interactions(400)
    elsewhere = pa.array([number % 2 == 0 for number in range(rows.num_rows)])
    cluster = pa.compute.if_else(elsewhere, "forge", "studio")
    rows = rows.set_column(rows.schema.get_field_index("cluster"), rows.schema.field("cluster"), cluster)
    interactions = lake.tables.append(AGENT_INTERACTIONS, rows, key="rows")
    users, agents, infrastructure = compute_features(lake, interactions, FIRST_DAY + timedelta(days=30))
    inputs = {"interactions": interactions, "feedback": None, "user_features": users, "agent_features": agents}
    built = build(lake, {**inputs, "infrastructure_features": infrastructure})
    assert infrastructure in built.inputs
    assert build(lake, inputs).training_set_id != built.training_set_id
    stored = {(r["cluster_namespace"], r["event_timestamp"]): r for r in lake.tables.read(infrastructure).to_pylist()}
    where = {row["interaction_id"]: row["cluster"] for row in rows.to_pylist()}
    hits = 0
    for row in rows_of(lake, built):
        known_until = row["timestamp"] - timedelta(minutes=30)
        newest = known_until.replace(minute=0, second=0, microsecond=0)
        ends = [newest - n * timedelta(hours=1) for n in range(4)]
        place = f"{where[row['interaction_id']]}/agents"
        known = [stored[place, end] for end in ends if (place, end) in stored and row["timestamp"] - end <= TTL]
        value = known[0] if known else dict.fromkeys(INFRASTRUCTURE_FEATURES.features)
        for name in INFRASTRUCTURE_FEATURES.features:
            assert row[f"infrastructure_{name}"] == value[name]
        hits += bool(known)
    assert 20 < hits < 100


def test_every_interaction_before_the_cut_occurs_once_and_is_split_by_time(lake: Lake) -> None:
    rows = make_interactions(400)
    built = build(lake, pinned(lake, rows))
    expected = {r["interaction_id"] for r in rows.to_pylist() if r["timestamp"] < CUT}
    found = rows_of(lake, built)
    assert len(found) == len(expected) == built.train_rows + built.test_rows
    assert {row["interaction_id"] for row in found} == expected
    assert all((row["timestamp"] < built.split_at) == (row["split"] == "train") for row in found)
    assert built.test_rows == pytest.approx(0.2 * len(expected), abs=1)
    assert built.split_at in {row["timestamp"] for row in found}


def test_no_value_from_the_future_or_available_only_later_is_used(lake: Lake) -> None:
    for row in rows_of(lake, build(lake, pinned(lake))):
        for time, delay in (
            ("user_event_timestamp", timedelta(hours=2)),
            ("agent_event_timestamp", timedelta(minutes=15)),
        ):
            assert row[time] is None or row[time] + delay <= row["timestamp"]


def test_back_filled_rows_have_features(lake: Lake) -> None:
    """Features computed long after the interactions: rows have the values that production would have had."""
    rows = [
        row
        for row in rows_of(lake, build(lake, pinned(lake)))
        if row["timestamp"] > FIRST_DAY + timedelta(days=1, hours=2)
    ]
    assert sum(row["total_queries"] is not None for row in rows) > 0.95 * len(rows)
    assert sum(row["agent_requests_per_hour"] is not None for row in rows) > 0.8 * len(rows)


def test_features_from_interactions_after_the_cut_change_nothing(lake: Lake) -> None:
    inputs = pinned(lake)
    at_cut = rows_of(lake, build(lake, inputs))
    longer = build(lake, inputs, cut=FIRST_DAY + timedelta(days=30))
    later = {row["interaction_id"]: row for row in rows_of(lake, longer)}
    ignored = {"training_set_id", "split"}
    for row in at_cut:
        assert {k: v for k, v in later[row["interaction_id"]].items() if k not in ignored} == {
            k: v for k, v in row.items() if k not in ignored
        }


def test_the_latest_rating_before_the_cut_counts(lake: Lake) -> None:
    before, after = CUT - timedelta(minutes=1), CUT
    rows = make_interactions(400)
    ids = [r["interaction_id"] for r in rows.to_pylist() if r["timestamp"] < CUT and not r["error"]][:4]
    own = {r["interaction_id"]: r["feedback"] for r in rows.to_pylist()}
    ratings = [
        (ids[0], 0, before - timedelta(1)),
        (ids[0], 1, before),
        (ids[1], 1, before - timedelta(1)),
        (ids[1], 0, before),
        (ids[2], 1 - (own[ids[2]] or 0), after),
        ("not an interaction", 1, before),
    ]
    found = {row["interaction_id"]: row for row in rows_of(lake, build(lake, pinned(lake, rows, ratings)))}
    assert [found[i]["feedback"] for i in ids] == [1, 0, own[ids[2]], own[ids[3]]]
    assert [found[i]["weight"] for i in ids[:2]] == [1.0, 0.0]
    assert "not an interaction" not in found


def test_errors_and_bad_ratings_have_weight_0_and_unrated_rows_a_quarter(lake: Lake) -> None:
    weights = {(r["error"], r["feedback"]): r["weight"] for r in rows_of(lake, build(lake, pinned(lake)))}
    failed = {(True, rating): 0.0 for rating in (1, 0, None)}
    assert weights == {(False, 1): 1.0, (False, 0): 0.0, (False, None): 0.25, **failed}


def test_the_same_inputs_give_the_same_set_and_write_nothing(lake: Lake) -> None:
    inputs = pinned(lake)
    assert build(lake, inputs) == build(lake, inputs)
    assert len(lake.tables.snapshots(TRAINING_SETS)) == 1


def test_everything_that_changes_the_rows_changes_the_id(lake: Lake) -> None:
    inputs = pinned(lake)
    changes: list[dict[str, Any]] = [
        {},
        {"cut": CUT - timedelta(microseconds=1)},
        {"agents": ["jamie"]},
        {"test_share": 0.3},
        {"weights": Weights(unrated=0.5)},
        {"feature_service": "agents_v1"},
        {"model": "other"},
        {"interactions": replace(inputs["interactions"], snapshot_id=inputs["interactions"].snapshot_id)},
    ]
    ids = [build(lake, inputs, **change).training_set_id for change in changes]
    assert len(set(ids)) == len(changes) - 1
    assert ids[0] == ids[-1]


def test_only_rows_of_the_named_agents_are_used(lake: Lake) -> None:
    found = rows_of(lake, build(lake, pinned(lake), agents=["jamie", "bruno"]))
    assert {row["agent_name"] for row in found} == {"jamie", "bruno"}


def test_the_reader_projects_and_orders_by_time(lake: Lake) -> None:
    built = build(lake, pinned(lake))
    rows = read_training_set(lake, built, "train", ["response", "timestamp"])
    assert rows.column_names == ["response", "timestamp"]
    assert rows["timestamp"].to_pylist() == sorted(rows["timestamp"].to_pylist())
    with pytest.raises(ValueError, match="'train' or 'test', not 'validation'"):
        read_training_set(lake, built, "validation")


@pytest.mark.parametrize(("cut", "message"), [(FIRST_DAY, "0 interactions"), (CUT, "1 interactions")])
def test_too_few_interactions_are_an_error_with_their_number(lake: Lake, cut: datetime, message: str) -> None:
    with pytest.raises(DataError, match=message):
        build(lake, pinned(lake, make_interactions(1)), cut=cut)


def test_a_split_without_any_weight_is_refused(lake: Lake) -> None:
    rows = make_interactions(100)
    failed = rows.set_column(rows.column_names.index("error"), "error", pa.array([True] * rows.num_rows))
    with pytest.raises(DataError, match="train split have weight 0"):
        build(lake, pinned(lake, failed))


def test_interactions_older_than_every_feature_train_as_new_users(lake: Lake) -> None:
    interactions = lake.tables.append(AGENT_INTERACTIONS, make_interactions(100, days=1), key="rows")
    users, agents = compute_features(lake, interactions, FIRST_DAY)
    built = build(
        lake, {"interactions": interactions, "feedback": None, "user_features": users, "agent_features": agents}
    )
    assert {row["total_queries"] for row in rows_of(lake, built)} == {None}


def test_an_agent_without_interactions_is_named(lake: Lake) -> None:
    with pytest.raises(DataError, match="0 interactions of nobody"):
        build(lake, pinned(lake), agents=["nobody"])


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.integers(0, 5), min_size=2, max_size=40), share=st.floats(0.01, 0.99))
def test_no_instant_is_on_both_sides_of_the_split_and_neither_side_is_empty(steps: list[int], share: float) -> None:
    times = [FIRST_DAY + timedelta(seconds=step) for step in steps]
    column = pa.chunked_array([pa.array(times, pa.timestamp("us", tz="UTC"))])
    try:
        split_at = _split_at(column, share, "source", [])
    except DataError:
        assert sorted(times)[min(int(len(times) * (1 - share)), len(times) - 1)] == min(times)
        return
    assert min(times) < split_at <= max(times)

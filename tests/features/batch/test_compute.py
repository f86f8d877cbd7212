"""The scheduled computation on a real lake: missing rows are computed once, and present rows stay."""

from datetime import datetime, timedelta

import pyarrow as pa

from features.batch.compute import compute_features, compute_view, view_rows, view_windows
from features.definitions.views import AGENT_FEATURES, USER_FEATURES
from lake.contracts.agent_interactions import AGENT_INTERACTIONS
from lake.lake import Lake
from lake.tables.versions import TableVersion
from tests.features.conftest import FIRST_DAY, make_interactions

OF_CALLS = (USER_FEATURES, AGENT_FEATURES)
END = FIRST_DAY + timedelta(days=4, hours=2)


def ingest(lake: Lake, rows: pa.Table, key: str) -> TableVersion:
    return lake.tables.append(AGENT_INTERACTIONS, rows, key=key)


def before(rows: pa.Table, end: datetime) -> pa.Table:
    return rows.filter(pa.compute.less(rows["timestamp"], pa.scalar(end, rows["timestamp"].type)))


def stored(lake: Lake, version: TableVersion, entity: str) -> pa.Table:
    return lake.tables.read(version).sort_by([("event_timestamp", "ascending"), (entity, "ascending")])


def test_a_second_computation_gives_the_first_versions_and_writes_nothing(lake: Lake) -> None:
    interactions = ingest(lake, make_interactions(100), "a")
    first = compute_features(lake, interactions, END)
    assert compute_features(lake, interactions, END) == first
    assert compute_features(lake, interactions, END + timedelta(minutes=5)) == first
    assert [len(lake.tables.snapshots(view.contract)) for view in OF_CALLS] == [1, 1]


def test_day_by_day_gives_the_same_rows_as_all_at_once(lake: Lake) -> None:
    rows = make_interactions(300)
    for day in range(1, 5):
        midnight = FIRST_DAY + timedelta(days=day)
        version = ingest(lake, before(rows, midnight), f"day {day}")
        versions = compute_features(lake, version, midnight + timedelta(hours=2))
    for view, computed in zip(OF_CALLS, versions, strict=True):
        assert stored(lake, computed, view.entity).equals(view_rows(view, view_windows(view, END, rows), rows))


def test_late_interactions_fill_their_gaps_and_change_no_present_row(lake: Lake) -> None:
    rows = make_interactions(200)
    is_late = pa.compute.or_(pa.compute.equal(rows["agent_name"], "jamie"), pa.compute.equal(rows["user_id"], "user-0"))
    first = compute_features(lake, ingest(lake, rows.filter(pa.compute.invert(is_late)), "in time"), END)
    second = compute_features(lake, ingest(lake, rows.filter(is_late), "late"), END)
    for view, old, new in zip(OF_CALLS, first, second, strict=True):
        before_, after = (set(map(str, stored(lake, v, view.entity).to_pylist())) for v in (old, new))
        assert before_ < after
    agents = stored(lake, second[1], "agent_name")["agent_name"].to_pylist()
    users = stored(lake, second[0], "user_id")["user_id"].to_pylist()
    assert "jamie" in agents
    assert "user-0" in users


def test_older_interactions_ingested_afterwards_get_features_too(lake: Lake) -> None:
    compute_features(lake, ingest(lake, make_interactions(50), "new"), END)
    older = make_interactions(50, seed=1, first=FIRST_DAY - timedelta(days=30))
    users, agents = compute_features(lake, ingest(lake, older, "old"), END)
    for version in (users, agents):
        assert min(lake.tables.read(version)["event_timestamp"].to_pylist()) < FIRST_DAY - timedelta(days=25)


def test_an_hourly_run_reads_only_the_days_that_it_needs(lake: Lake) -> None:
    """The hour that is missing is right even though only its own interactions are read."""
    rows = make_interactions(400, days=2)
    compute_view(lake, AGENT_FEATURES, [ingest(lake, before(rows, FIRST_DAY + timedelta(days=1)), "a")], END)
    version = compute_view(lake, AGENT_FEATURES, [ingest(lake, rows, "b")], END)
    expected = view_rows(AGENT_FEATURES, view_windows(AGENT_FEATURES, END, rows), rows)
    assert stored(lake, version, "agent_name").equals(expected)


def test_before_a_window_is_due_there_is_a_version_without_rows(lake: Lake) -> None:
    interactions = ingest(lake, make_interactions(10, days=1), "a")
    early = compute_features(lake, interactions, FIRST_DAY)
    assert [version.rows for version in early] == [0, 0]
    assert compute_features(lake, interactions, FIRST_DAY + timedelta(minutes=1)) == early
    assert all(version.rows for version in compute_features(lake, interactions, END))


def test_the_snapshot_names_the_interactions_it_was_computed_from(lake: Lake) -> None:
    interactions = ingest(lake, make_interactions(30), "a")
    compute_features(lake, interactions, END)
    for view in OF_CALLS:
        [snapshot] = lake.tables.snapshots(view.contract)
        assert snapshot.summary is not None
        assert str(interactions) in snapshot.summary.additional_properties["fuelline.inputs"]

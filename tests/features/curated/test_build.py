"""The curated tables over real interactions: correct values, and a rebuild of exactly the due days."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from errors import UnknownName, UserError
from features.curated.build import build, build_named
from features.curated.numbers import newest_numbers
from features.curated.tables import AGENT_PERFORMANCE, CLUSTER_HEALTH, TABLES, USER_SUMMARY, Curated
from lake.contracts.agent_interactions import AGENT_FEEDBACK, AGENT_INTERACTIONS
from lake.ingest.pipeline import Ingester
from lake.lake import Lake
from tests.features.conftest import FIRST_DAY, make_interactions
from tests.features.curated.by_hand import agent_days, cluster_hours, user_days
from tests.features.curated.conftest import real_logs

BY_HAND: list[tuple[Curated, Callable[..., pd.DataFrame]]] = [
    (AGENT_PERFORMANCE, agent_days),
    (USER_SUMMARY, user_days),
    (CLUSTER_HEALTH, cluster_hours),
]
NAMES = [table.contract.name for table in TABLES]
DAYS = [(FIRST_DAY + timedelta(days=number)).date() for number in range(4)]
NO_FEEDBACK = AGENT_FEEDBACK.arrow_schema.empty_table().to_pandas()


def frame(lake: Lake, curated: Curated) -> pd.DataFrame:
    version = lake.tables.current(curated.contract)
    assert version
    key = list(curated.contract.key)
    return lake.tables.read(version).to_pandas().sort_values(key).reset_index(drop=True)


def assert_equal(found: pd.DataFrame, expected: pd.DataFrame, curated: Curated) -> None:
    ordered = expected.sort_values(list(curated.contract.key)).reset_index(drop=True)
    columns = [name for name in curated.contract.arrow_schema.names if name != "built_from"]
    assert set(expected.columns) == set(columns)
    pd.testing.assert_frame_equal(found[columns], ordered[columns], check_dtype=False, rtol=1e-12)


def plain(rows: pa.Table) -> pd.DataFrame:
    found: pd.DataFrame = rows.to_pandas(integer_object_nulls=True)
    return found.astype({"feedback": "Int64"})


def on(day: date, rows: pa.Table) -> pa.ChunkedArray:
    return pa.compute.equal(rows["timestamp"].cast(pa.date32()), pa.scalar(day))


def feedback_rows(*ratings: tuple[str, int, datetime]) -> pa.Table:
    listed = [{"interaction_id": name, "value": value, "timestamp": at} for name, value, at in ratings]
    return pa.Table.from_pylist(listed, schema=AGENT_FEEDBACK.arrow_schema)


def append_interactions(lake: Lake, rows: pa.Table, key: str) -> None:
    lake.tables.append(AGENT_INTERACTIONS, rows, key=key)


def append_feedback(lake: Lake, *ratings: tuple[str, int, datetime]) -> None:
    lake.tables.append(AGENT_FEEDBACK, feedback_rows(*ratings), key=str(ratings))


def test_two_real_weeks_from_logs_to_tables_equal_plain_pandas(lake: Lake, real_frame: pd.DataFrame) -> None:
    for path in real_logs():
        Ingester(lake, AGENT_INTERACTIONS, "agents").ingest_file(path)
    rated = real_frame.sample(400, random_state=3).to_dict("records")
    ratings = [
        (row["interaction_id"], number % 2, row["timestamp"].to_pydatetime() + timedelta(hours=(number * 7) % 400 - 20))
        for number, row in enumerate(rated)
    ]
    append_feedback(lake, *ratings)
    for curated, expected in BY_HAND:
        done = build(lake, curated)
        assert len(done.rebuilt) == 14
        assert_equal(frame(lake, curated), expected(real_frame, feedback_rows(*ratings).to_pandas()), curated)
    rows_built = frame(lake, AGENT_PERFORMANCE)
    assert rows_built["requests"].sum() == 11_873 - 75
    assert rows_built["errors"].sum() == 80


@pytest.mark.parametrize("name", NAMES)
def test_a_second_build_writes_nothing(lake: Lake, name: str) -> None:
    append_interactions(lake, make_interactions(200), "a")
    first = build_named(lake, name)
    assert first.rebuilt == [str(day) for day in DAYS]
    assert build_named(lake, name).rebuilt == []
    assert build_named(lake, name).version == first.version


@pytest.mark.parametrize(("curated", "expected"), BY_HAND)
def test_late_rows_rebuild_their_own_day_to_what_one_build_of_all_would_give(
    lake: Lake, curated: Curated, expected: Callable[..., pd.DataFrame]
) -> None:
    rows = make_interactions(300)
    odd = pa.array([number % 2 == 1 for number in range(rows.num_rows)])
    late = pa.compute.and_(on(DAYS[1], rows), odd)
    append_interactions(lake, rows.filter(pa.compute.invert(late)), "in time")
    build(lake, curated)
    append_interactions(lake, rows.filter(late), "late")
    assert build(lake, curated).rebuilt == [str(DAYS[1])]
    assert_equal(
        frame(lake, curated),
        expected(rows.to_pandas(integer_object_nulls=True).astype({"feedback": "Int64"}), NO_FEEDBACK),
        curated,
    )


def test_feedback_rebuilds_the_days_that_it_may_belong_to_and_counts_for_seven_days(lake: Lake) -> None:
    rows = make_interactions(100)
    append_interactions(lake, rows, "a")
    build(lake, AGENT_PERFORMANCE)
    [first] = (
        rows.filter(pa.compute.equal(rows["timestamp"].cast(pa.date32()), pa.scalar(DAYS[0]))).slice(0, 1).to_pylist()
    )
    before = _thumbs_up(lake, first)
    value = 0 if first["feedback"] == 1 else 1
    in_time = FIRST_DAY + timedelta(days=8) - timedelta(microseconds=1)
    append_feedback(lake, (first["interaction_id"], value, in_time))
    assert build(lake, AGENT_PERFORMANCE).rebuilt == [str(day) for day in DAYS]
    assert _thumbs_up(lake, first) - before == (1 if value else -1)
    append_feedback(lake, (first["interaction_id"], 1 - value, in_time + timedelta(microseconds=1)))
    assert build(lake, AGENT_PERFORMANCE).rebuilt == [str(day) for day in DAYS[1:]]
    assert _thumbs_up(lake, first) - before == (1 if value else -1)


def _thumbs_up(lake: Lake, call: dict[str, Any]) -> int:
    rows_built = frame(lake, AGENT_PERFORMANCE)
    of_day = rows_built[
        (rows_built["agent_name"] == call["agent_name"]) & (rows_built["day"] == pd.Timestamp(FIRST_DAY))
    ]
    return int(of_day["thumbs_up"].iloc[0])


def test_an_erasure_removes_rows_and_a_day_without_rows(lake: Lake) -> None:
    rows = make_interactions(120)
    append_interactions(lake, rows, "a")
    build(lake, USER_SUMMARY)
    table = lake.tables.load(AGENT_INTERACTIONS.table)
    table.delete(f"timestamp < '{(FIRST_DAY + timedelta(days=1)).isoformat()}'")
    table.delete("user_id == 'user-0'")
    build(lake, USER_SUMMARY)
    rows_built = frame(lake, USER_SUMMARY)
    assert set(rows_built["day"].dt.date) == set(DAYS[1:])
    assert "user-0" not in set(rows_built["user_id"])


def test_a_back_fill_touches_no_day_outside_of_its_range(lake: Lake) -> None:
    append_interactions(lake, make_interactions(200), "a")
    assert build(lake, CLUSTER_HEALTH, first=DAYS[1], last=DAYS[2]).rebuilt == [str(day) for day in DAYS[1:3]]
    assert set(frame(lake, CLUSTER_HEALTH)["hour"].dt.date) == set(DAYS[1:3])
    assert build(lake, CLUSTER_HEALTH).rebuilt == [str(DAYS[0]), str(DAYS[3])]


def test_a_back_fill_of_many_days_commits_a_month_at_a_time(lake: Lake) -> None:
    append_interactions(lake, make_interactions(600, days=40), "a")
    done = build(lake, AGENT_PERFORMANCE)
    assert len(done.rebuilt) == 40
    assert len(lake.tables.snapshots(AGENT_PERFORMANCE.contract)) == 2


def test_a_build_from_an_older_pin_writes_nothing_over_a_newer_one(lake: Lake) -> None:
    rows = make_interactions(200)
    append_interactions(lake, rows.slice(0, 100), "a")
    older = lake.tables.current(AGENT_INTERACTIONS)
    assert older
    append_interactions(lake, rows.slice(100), "b")
    newer = build(lake, CLUSTER_HEALTH)
    assert build(lake, CLUSTER_HEALTH, pins=[older]).rebuilt == []
    assert build(lake, CLUSTER_HEALTH).version == newer.version


def test_a_table_is_rebuilt_where_its_definition_changes(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    append_interactions(lake, make_interactions(50), "a")
    build(lake, USER_SUMMARY)
    changed = Curated(
        contract=USER_SUMMARY.contract,
        transform=lambda calls, feedback: USER_SUMMARY.transform(calls.filter(calls.agent_name != "jamie"), feedback),
        inputs=USER_SUMMARY.inputs,
    )
    assert build(lake, changed).rebuilt == [str(day) for day in DAYS]


def test_without_interactions_there_is_nothing_to_build(lake: Lake) -> None:
    for name in [*NAMES, "ml.training_datasets"]:
        done = build_named(lake, name)
        assert (done.version, done.rebuilt) == ([], [])


def test_an_invalid_range_and_an_unknown_table_are_refused(lake: Lake) -> None:
    with pytest.raises(UserError, match=r"2026-03-03.*is after"):
        build_named(lake, NAMES[0], first=date(2026, 3, 3), last=date(2026, 3, 2))
    with pytest.raises(UserError, match="no days"):
        build_named(lake, "ml.training_datasets", first=date(2026, 3, 3))
    with pytest.raises(UnknownName, match=r"did you mean 'curated\.cluster_health_hourly_v2'"):
        build_named(lake, "curated.cluster_health")


def test_the_newest_figures_are_those_of_the_last_day_without_user_ids(lake: Lake) -> None:
    append_interactions(lake, make_interactions(200), "a")
    for name in NAMES:
        [version] = build_named(lake, name).version
        day, figures = newest_numbers(lake, version)
        assert day == str(DAYS[-1])
        assert figures
        assert "user-" not in str(figures)


def test_days_are_days_in_utc(lake: Lake) -> None:
    append_interactions(lake, make_interactions(50), "a")
    build(lake, AGENT_PERFORMANCE)
    assert all(at.astimezone(UTC).hour == 0 for at in frame(lake, AGENT_PERFORMANCE)["day"])

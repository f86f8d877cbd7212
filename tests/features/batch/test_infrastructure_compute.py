"""The hourly computation of the infrastructure features on a real lake: each hour once, no day read in vain."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from features.batch.compute import compute_features, compute_view
from features.batch.incremental import days_to_read
from features.definitions.views import INFRASTRUCTURE_FEATURES, VIEWS
from lake.contracts.agent_interactions import AGENT_INTERACTIONS
from lake.contracts.telemetry import KUBERNETES_EVENTS, LOGS, METRICS
from lake.lake import Lake, open_lake
from lake.tables.versions import TableVersion
from settings import read_settings
from tests.features.clusters import Row, events, line, logs, metrics, rising, series
from tests.features.conftest import FIRST_DAY, make_interactions

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
DELAY = INFRASTRUCTURE_FEATURES.delay
OF_BRUNO = {"namespace": "agents", "pod": "bruno-1", "container": "bruno"}
RESTARTS = "kube_pod_container_status_restarts_total"


def measure(lake: Lake, rows: list[Row], key: str) -> None:
    lake.tables.append(METRICS, metrics(rows), key=key)


def write(lake: Lake, *lines: Row, key: str) -> None:
    lake.tables.append(LOGS, logs(list(lines)), key=key)


def compute(lake: Lake, upto: datetime) -> TableVersion:
    pins = [version for read in INFRASTRUCTURE_FEATURES.inputs if (version := lake.tables.current(read.contract))]
    return compute_view(lake, INFRASTRUCTURE_FEATURES, pins, upto)


def stored(lake: Lake) -> dict[tuple[str, datetime], dict[str, Any]]:
    version = lake.tables.current(INFRASTRUCTURE_FEATURES.contract)
    assert version
    rows = lake.tables.read(version).to_pylist()
    found = {(row["cluster_namespace"], row["event_timestamp"]): row for row in rows}
    assert len(found) == len(rows)
    return found


def read_days(lake: Lake, upto: datetime) -> list[int]:
    """The days that a computation would read, counted from the first."""
    pinned = {v.table: v for read in INFRASTRUCTURE_FEATURES.inputs if (v := lake.tables.current(read.contract))}
    days = days_to_read(lake, INFRASTRUCTURE_FEATURES, pinned, upto)
    return [(day - FIRST_DAY.date()).days for day in days if day]


def test_hour_by_hour_gives_the_same_rows_as_all_at_once(lake: Lake, tmp_path: Path) -> None:
    whole = series(RESTARTS, FIRST_DAY + 22 * HOUR, rising(5 * 60, 0.5), **OF_BRUNO)
    for hour in range(23, 28):
        end = FIRST_DAY + hour * HOUR
        measure(lake, [row for row in whole if end - HOUR <= row["timestamp"] < end], str(hour))
        compute(lake, end + DELAY)
    other = open_lake(read_settings(home=tmp_path / "other", lake="other"))
    measure(other, whole, "all")
    compute(other, FIRST_DAY + 27 * HOUR + DELAY)
    assert stored(lake) == stored(other)
    restarts = [row["restarts"] for row in stored(lake).values() if row["cluster_namespace"] == "studio/agents"]
    assert sum(restarts) == pytest.approx(0.5 * 299, abs=3)


def test_an_hour_is_computed_when_it_is_due_even_without_new_rows(lake: Lake) -> None:
    measure(lake, series(RESTARTS, FIRST_DAY + 5 * HOUR, rising(120, 0.0), **OF_BRUNO), "a")
    compute(lake, FIRST_DAY + 6 * HOUR + DELAY)
    assert {end for _, end in stored(lake)} == {FIRST_DAY + 6 * HOUR}
    compute(lake, FIRST_DAY + 7 * HOUR + DELAY - timedelta(microseconds=1))
    assert {end for _, end in stored(lake)} == {FIRST_DAY + 6 * HOUR}
    compute(lake, FIRST_DAY + 7 * HOUR + DELAY)
    assert {end for _, end in stored(lake)} == {FIRST_DAY + 6 * HOUR, FIRST_DAY + 7 * HOUR}


def test_a_second_computation_writes_nothing(lake: Lake) -> None:
    measure(lake, series(RESTARTS, FIRST_DAY, rising(60, 0.0), **OF_BRUNO), "a")
    first = compute(lake, FIRST_DAY + 2 * HOUR)
    assert compute(lake, FIRST_DAY + 2 * HOUR) == compute(lake, FIRST_DAY + 3 * HOUR) == first
    assert len(lake.tables.snapshots(INFRASTRUCTURE_FEATURES.contract)) == 1


def test_late_rows_fill_their_gaps_and_change_no_present_row(lake: Lake) -> None:
    upto = FIRST_DAY + 3 * DAY
    measure(lake, series(RESTARTS, FIRST_DAY, rising(60, 0.0), **OF_BRUNO), "a")
    compute(lake, upto)
    before = stored(lake)
    late = (line(FIRST_DAY, "late", namespace="flux-system"), line(FIRST_DAY, "level=error", namespace="agents"))
    write(lake, *late, key="late")
    compute(lake, upto + HOUR)
    after = stored(lake)
    assert after.keys() - before.keys() == {("studio/flux-system", FIRST_DAY + HOUR)}
    assert {key: after[key] for key in before} == before


def test_only_days_that_have_changed_or_were_not_due_are_read(lake: Lake) -> None:
    for day in range(10):
        measure(lake, series(RESTARTS, FIRST_DAY + day * DAY, rising(60, 0.0), **OF_BRUNO), str(day))
    upto = FIRST_DAY + 10 * DAY
    assert read_days(lake, upto) == list(range(10))
    compute(lake, upto)
    assert read_days(lake, upto) == [8, 9]
    write(lake, line(FIRST_DAY + 3 * DAY, "x", namespace="agents"), key="late")
    assert read_days(lake, upto + HOUR) == [3, 8, 9]
    assert read_days(lake, FIRST_DAY + 4 * DAY) == [3]


def test_a_back_fill_of_a_much_older_day_is_computed(lake: Lake) -> None:
    measure(lake, series(RESTARTS, FIRST_DAY, rising(60, 0.0), **OF_BRUNO), "a")
    compute(lake, FIRST_DAY + 2 * HOUR)
    measure(lake, series(RESTARTS, FIRST_DAY - 30 * DAY, rising(60, 0.0), **OF_BRUNO), "b")
    compute(lake, FIRST_DAY + 2 * HOUR)
    assert min(end for _, end in stored(lake)) == FIRST_DAY - 30 * DAY + HOUR


def test_a_counters_point_before_midnight_counts_for_the_hour_after_it(lake: Lake) -> None:
    midnight = FIRST_DAY + DAY
    values = [0.0] * 60 + [3.0] * 60
    measure(lake, series(RESTARTS, midnight - HOUR, values, **OF_BRUNO), "a")
    compute(lake, midnight + 2 * HOUR)
    assert stored(lake)["studio/agents", midnight + HOUR]["restarts"] == 3


def test_without_measurements_there_is_no_infrastructure_table_and_other_features_are_computed(lake: Lake) -> None:
    interactions = lake.tables.append(AGENT_INTERACTIONS, make_interactions(50), key="a")
    versions = compute_features(lake, interactions, FIRST_DAY + 9 * DAY)
    assert [version.table for version in versions] == [view.contract.table for view in VIEWS[:2]]
    assert lake.tables.current(INFRASTRUCTURE_FEATURES.contract) is None
    lake.tables.append(KUBERNETES_EVENTS, events([]), key="nothing")
    assert len(compute_features(lake, interactions, FIRST_DAY + 9 * DAY)) == 3


def test_the_snapshot_names_every_version_it_was_computed_from(lake: Lake) -> None:
    interactions = lake.tables.append(AGENT_INTERACTIONS, make_interactions(50), key="a")
    measure(lake, series(RESTARTS, FIRST_DAY, rising(60, 0.0), **OF_BRUNO), "a")
    write(lake, line(FIRST_DAY, "x", namespace="agents"), key="a")
    compute_features(lake, interactions, FIRST_DAY + DAY)
    [snapshot] = lake.tables.snapshots(INFRASTRUCTURE_FEATURES.contract)
    assert snapshot.summary
    inputs = snapshot.summary.additional_properties["fuelline.inputs"]
    assert all(str(lake.tables.current(contract)) in inputs for contract in (METRICS, LOGS))
    assert str(interactions) not in inputs

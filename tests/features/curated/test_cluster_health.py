"""The health of a cluster from four sources: all measures, late rows, and measures whose inputs are gone."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from features.curated.build import build, compute
from features.curated.tables import CLUSTER_HEALTH, named_table
from lake.contracts.agent_interactions import AGENT_INTERACTIONS
from lake.contracts.base import Contract
from lake.contracts.telemetry import KUBERNETES_EVENTS, LOGS, METRICS
from lake.lake import Lake
from reports.status import overview
from tests.features import clusters
from tests.features.conftest import FIRST_DAY, make_interactions

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
OF_BRUNO = {"namespace": "agents", "pod": "bruno-1", "container": "bruno"}
RESTARTS = "kube_pod_container_status_restarts_total"


def restarts(lake: Lake, start: datetime, values: list[float], key: str, cluster: str = "studio") -> None:
    rows = clusters.series(RESTARTS, start, values, cluster=cluster, **OF_BRUNO)
    lake.tables.append(METRICS, clusters.metrics(rows), key=key)


def health(lake: Lake) -> dict[tuple[str, datetime], dict[str, Any]]:
    version = lake.tables.current(CLUSTER_HEALTH.contract)
    assert version
    return {(row["cluster"], row["hour"]): row for row in lake.tables.read(version).to_pylist()}


def without_digest(rows: dict[tuple[str, datetime], dict[str, Any]]) -> dict[tuple[str, datetime], dict[str, Any]]:
    """The rows without ``built_from``."""
    return {key: {name: value for name, value in row.items() if name != "built_from"} for key, row in rows.items()}


def test_an_hour_without_calls_has_a_row_if_a_server_was_measured(lake: Lake) -> None:
    calls = make_interactions(1, days=1)
    at = calls["timestamp"][0].as_py().replace(minute=0, second=0, microsecond=0)
    lake.tables.append(AGENT_INTERACTIONS, calls, key="a")
    restarts(lake, FIRST_DAY + 4 * HOUR, [0.0] * 30 + [1.0] * 30, "a", cluster="forge")
    lake.tables.append(LOGS, clusters.logs([clusters.line(at, "level=error", namespace="agents")]), key="a")
    build(lake, CLUSTER_HEALTH)
    found = health(lake)
    assert found.keys() == {("studio", at), ("forge", FIRST_DAY + 4 * HOUR)}
    quiet, busy = found["forge", FIRST_DAY + 4 * HOUR], found["studio", at]
    assert (quiet["requests"], quiet["tokens"], quiet["error_rate"], quiet["last_request_at"]) == (0, 0, None, None)
    assert (quiet["restarts"], quiet["log_lines"], quiet["crash_loops"]) == (1, None, None)
    assert (busy["requests"], busy["log_lines"], busy["error_log_rate"], busy["restarts"]) == (1, 1, 1.0, None)


def test_the_status_calls_every_table_as_the_catalogue_does(lake: Lake) -> None:
    restarts(lake, FIRST_DAY, [0.0, 1.0], "a")
    build(lake, CLUSTER_HEALTH)
    listed = lake.tables.catalog.list_tables("curated") + lake.tables.catalog.list_tables("processed")
    assert [table["table"] for table in overview(lake)["tables"]] == sorted(map(".".join, listed))
    assert named_table("curated.cluster_health_hourly") is named_table("curated.cluster_health_hourly_v2")


def test_late_rows_of_any_source_rebuild_their_day(lake: Lake) -> None:
    lake.tables.append(AGENT_INTERACTIONS, make_interactions(200), key="a")
    build(lake, CLUSTER_HEALTH)
    at = FIRST_DAY + DAY + 5 * HOUR
    late: list[tuple[Contract, Any]] = [
        (LOGS, clusters.logs([clusters.line(at, "x", namespace="agents")])),
        (KUBERNETES_EVENTS, clusters.events([clusters.event(at, "a", "Unhealthy")])),
    ]
    for contract, rows in late:
        lake.tables.append(contract, rows, key="late")
        assert build(lake, CLUSTER_HEALTH).rebuilt == [str(at.date())]
        assert build(lake, CLUSTER_HEALTH).rebuilt == []
    row = health(lake)["studio", at]
    assert (row["log_lines"], row["crash_loops"], row["warning_events"]) == (1, 0, 1)


def test_the_hour_after_midnight_uses_the_counters_point_before_it(lake: Lake) -> None:
    midnight = FIRST_DAY + DAY
    restarts(lake, midnight - HOUR, [0.0] * 60 + [3.0] * 60, "a")
    build(lake, CLUSTER_HEALTH)
    assert [health(lake)["studio", midnight + n * HOUR]["restarts"] for n in (-1, 0)] == [0, 3]
    restarts(lake, midnight - 2 * HOUR, [0.0] * 60, "b")
    assert build(lake, CLUSTER_HEALTH).rebuilt == [str(FIRST_DAY.date()), str(midnight.date())]


def test_measures_stay_after_the_rows_of_their_source_have_expired(lake: Lake) -> None:
    lake.tables.append(AGENT_INTERACTIONS, make_interactions(100, days=1), key="a")
    restarts(lake, FIRST_DAY, [0.0] * 30 + [2.0] * 60, "a", cluster="studio")
    restarts(lake, FIRST_DAY + DAY, [0.0] * 30 + [4.0] * 30, "b", cluster="forge")
    build(lake, CLUSTER_HEALTH)
    before = health(lake)
    lake.tables.load(METRICS.table).delete("metric == 'kube_pod_container_status_restarts_total'")
    done = build(lake, CLUSTER_HEALTH)
    assert done.rebuilt == [str(FIRST_DAY.date())], "a day without inputs stays unchanged"
    after = health(lake)
    assert before.keys() == after.keys()
    assert [{**row, "built_from": ""} for row in after.values()] == [
        {**row, "built_from": ""} for row in before.values()
    ]
    assert build(lake, CLUSTER_HEALTH).rebuilt == []


def test_a_day_is_the_same_built_at_once_or_in_parts(lake: Lake) -> None:
    parts: list[tuple[Contract, Any]] = [
        (METRICS, clusters.metrics(clusters.a_day_of_metrics(FIRST_DAY))),
        (LOGS, clusters.logs(clusters.a_day_of_lines(FIRST_DAY))),
        (KUBERNETES_EVENTS, clusters.events(clusters.a_day_of_events(FIRST_DAY))),
    ]
    for contract, rows in parts:
        middle = rows.num_rows // 2
        for number, half in enumerate((rows.slice(0, middle), rows.slice(middle))):
            lake.tables.append(contract, half, key=str(number))
            build(lake, CLUSTER_HEALTH)
    whole = {(row["cluster"], row["hour"]): row for row in _at_once(parts)}
    piecemeal = without_digest(health(lake))
    assert piecemeal.keys() == whole.keys()
    for key, row in piecemeal.items():
        for name, value in row.items():
            assert value == (pytest.approx(whole[key][name]) if isinstance(value, float) else whole[key][name]), name


def _at_once(parts: list[tuple[Contract, Any]]) -> list[dict[str, Any]]:
    appended = {contract.table: rows for contract, rows in parts}
    empty = {read.contract.table: read.contract.arrow_schema.empty_table() for read in CLUSTER_HEALTH.read}
    tables = [(empty | appended)[read.contract.table].select(list(read.columns)) for read in CLUSTER_HEALTH.read]
    rows: list[dict[str, Any]] = compute(CLUSTER_HEALTH, tables).to_pylist()
    return rows

"""The infrastructure features over generated series, lines and events, with values that are easy to compute by hand."""

import math
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest

from features.batch.compute import view_rows, view_windows
from features.definitions.views import AGENT_FEATURES, INFRASTRUCTURE_FEATURES
from tests.features.clusters import Row, event, events, line, logs, metrics, native, rising, series
from tests.features.conftest import FIRST_DAY, make_interactions

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
START = FIRST_DAY + 5 * HOUR
END = START + HOUR
LATER = FIRST_DAY + timedelta(days=60)
OF_BRUNO = {"namespace": "agents", "pod": "bruno-1", "container": "bruno"}
NOTHING = (metrics([]), logs([]), events([]))


def compute(measured: list[Row], lines: tuple[Row, ...] = (), happened: tuple[Row, ...] = ()) -> dict[Any, Row]:
    """The features by namespace and window end."""
    inputs = (metrics(measured), logs(list(lines)), events(list(happened)))
    wanted = view_windows(INFRASTRUCTURE_FEATURES, LATER, *inputs)
    rows = view_rows(INFRASTRUCTURE_FEATURES, wanted, *inputs).to_pylist()
    return {(row["cluster_namespace"], row["event_timestamp"]): row for row in rows}


def features_of(
    measured: list[Row], lines: tuple[Row, ...] = (), happened: tuple[Row, ...] = (), namespace: str = "studio/agents"
) -> Row:
    return compute(measured, lines, happened)[namespace, END]


def test_restarts_are_the_rise_of_the_counter_and_a_reset_loses_none() -> None:
    counter = [3.0] * 20 + [4.0] * 20 + [1.0] * 20  # the pod is replaced: one restart before, one after
    found = features_of(series("kube_pod_container_status_restarts_total", START, counter, **OF_BRUNO))
    assert found["restarts"] == 2


def test_a_rise_over_the_full_hour_belongs_to_the_hour_of_the_later_point() -> None:
    counter = [0.0] * 60 + [2.0] * 60
    found = compute(series("kube_pod_container_status_restarts_total", START, counter, **OF_BRUNO))
    assert found["studio/agents", END]["restarts"] == 0
    assert found["studio/agents", END + HOUR]["restarts"] == 2


def test_two_replicas_of_an_exporter_count_a_restart_once() -> None:
    counter = [0.0] * 30 + [1.0] * 30
    same: list[Row] = []
    for instance in ("10.0.0.1:8080", "10.0.0.2:8080"):
        same += series("kube_pod_container_status_restarts_total", START, counter, **OF_BRUNO, instance=instance)
    assert features_of(same)["restarts"] == 1


def test_over_a_gap_of_more_than_an_hour_no_rise_is_counted() -> None:
    values = [0.0] + [None] * 70 + [9.0] * 30
    found = compute(series("kube_pod_container_status_restarts_total", START, values, **OF_BRUNO))
    assert found["studio/agents", END]["restarts"] is None
    assert found["studio/agents", END + HOUR]["restarts"] == 0


def test_pressure_is_use_over_the_limits_of_the_containers_that_have_one() -> None:
    limited, free = OF_BRUNO, {**OF_BRUNO, "pod": "jamie-1", "container": "jamie"}
    sandbox, sums = {**OF_BRUNO, "container": "POD"}, {"namespace": "agents", "pod": "bruno-1"}
    measured = [
        *series("container_cpu_usage_seconds_total", START, rising(60, 30.0), **limited, cpu="total"),
        *series("container_cpu_usage_seconds_total", START, rising(60, 55.0), **free, cpu="total"),
        *series("container_cpu_usage_seconds_total", START, rising(60, 99.0), **sandbox),
        *series("container_cpu_usage_seconds_total", START, rising(60, 99.0), **sums),
        *series("kube_pod_container_resource_limits", START, [2.0] * 60, **limited, resource="cpu", unit="core"),
        *series("container_memory_working_set_bytes", START, [100.0] * 59 + [150.0], **limited),
        *series("container_memory_working_set_bytes", START, [999.0] * 60, **free),
        *series("kube_pod_container_resource_limits", START, [200.0] * 60, **limited, resource="memory", unit="byte"),
    ]
    found = features_of(measured)
    assert found["cpu_pressure"] == pytest.approx(30 / (2 * 60))
    assert found["memory_pressure"] == pytest.approx(0.75)
    assert features_of(measured, namespace="studio/*")["cpu_pressure"] == pytest.approx(0.25)


def test_the_pressure_of_the_nodes_is_that_of_the_whole_cluster() -> None:
    waiting = "node_pressure_{}_waiting_seconds_total"
    measured = [
        *series(waiting.format("cpu"), START, rising(60, 6.0), instance="a:9100"),
        *series(waiting.format("cpu"), START, rising(60, 12.0), instance="b:9100"),
        *series(waiting.format("memory"), START, rising(60, 3.0), instance="a:9100"),
        *series("container_memory_working_set_bytes", START, [100.0] * 60, **OF_BRUNO),
        *series("kube_pod_container_resource_limits", START, [200.0] * 60, **OF_BRUNO, resource="memory"),
    ]
    whole = features_of(measured, namespace="studio/*")
    assert whole["cpu_pressure"] == pytest.approx(9 / 60)
    assert whole["memory_pressure"] == pytest.approx(3 / 60)
    assert features_of(measured)["memory_pressure"] == pytest.approx(0.5)
    assert features_of(measured)["cpu_pressure"] is None


def classic(name: str, rises: dict[str, float], **labels: str) -> list[Row]:
    buckets = (series(f"{name}_bucket", START, rising(60, rise), le=le, **labels) for le, rise in rises.items())
    return [row for bucket in buckets for row in bucket]


@pytest.mark.parametrize(
    ("rises", "expected"),
    [
        ({"0.1": 50, "0.5": 90, "1": 100, "+Inf": 100}, 750.0),  # half of the way from 0.5 s to 1 s
        ({"0.1": 100, "0.5": 100, "+Inf": 100}, 95.0),  # from zero, in the first
        ({"0.1": 50, "0.5": 90, "+Inf": 100}, 500.0),  # beyond the last bound that is finite
        ({"0.1": 0, "0.5": 0, "+Inf": 0}, None),
    ],
)
def test_the_percentile_lies_evenly_within_its_bucket(rises: dict[str, float], expected: float | None) -> None:
    found = features_of(classic("http_request_duration_seconds", rises, namespace="agents", pod="bruno-1"))
    assert found["latency_p95_ms"] == (pytest.approx(expected) if expected else None)
    assert found["requests_per_hour"] == (pytest.approx(59 * rises["+Inf"]) if expected else None)


def test_series_are_summed_before_the_percentile_and_linkerd_counts_where_a_request_arrives() -> None:
    rises = {"100": 50.0, "500": 90.0, "+Inf": 100.0}
    slow = {"100": 0.0, "500": 0.0, "+Inf": 100.0}
    measured = [
        *classic("response_latency_ms", rises, namespace="agents", pod="a", direction="inbound"),
        *classic("response_latency_ms", {"100": 50.0, "500": 110.0, "+Inf": 110.0}, namespace="agents", pod="b"),
        *classic("response_latency_ms", slow, namespace="agents", pod="c", direction="outbound"),
    ]
    found = features_of(measured)
    rank, below, bucket = 0.95 * 210, 100, 100
    assert found["latency_p95_ms"] == pytest.approx(100 + 400 * (rank - below) / bucket)
    assert found["requests_per_hour"] == pytest.approx(59 * 210)


def test_a_native_histogram_is_read_on_a_logarithmic_scale_and_survives_a_reset() -> None:
    first = [{(0.5, 1.0): 10.0 * n, (1.0, 2.0): 10.0 * n} for n in range(30)]
    after_reset = [{(0.5, 1.0): 5.0 * n, (1.0, 2.0): 5.0 * n, (2.0, 4.0): 0.0 + n} for n in range(1, 31)]
    found = features_of(native("http_request_duration_seconds", START, [*first, *after_reset], namespace="agents"))
    total = {"low": 290 + 150, "mid": 290 + 150, "high": 30}
    rank = 0.95 * sum(total.values())
    share = (rank - total["low"]) / total["mid"]
    assert found["requests_per_hour"] == pytest.approx(sum(total.values()))
    assert found["latency_p95_ms"] == pytest.approx(1000 * math.exp(math.log(2.0) * share))


def test_a_histogram_that_is_exported_in_both_forms_counts_once() -> None:
    first = [{(0.5, 1.0): 10.0 * n} for n in range(60)]
    measured = [
        *native("http_request_duration_seconds", START, first, namespace="agents"),
        *classic("http_request_duration_seconds", {"1": 10.0, "+Inf": 10.0}, namespace="agents"),
    ]
    assert features_of(measured)["requests_per_hour"] == pytest.approx(590)


LINES: tuple[tuple[str, dict[str, str], bool], ...] = (
    ('{"level":"error","msg":"x"}', {}, True),
    ('{"severity": "CRITICAL"}', {}, True),
    ("ts=1 level=error msg=x", {}, True),
    ('level="fatal" msg=x', {}, True),
    ("E0822 07:01:02.1 1 reflector.go:1] x", {}, True),
    ("2026-03-02T07:01:02.1Z stderr F E0302 07:01:02.1 1 errors.go:77] x", {}, True),
    ("I0822 07:01:02.1 1 reflector.go:1] x", {}, False),
    ("2026-03-02 ERROR agent: x", {}, True),
    ("level=info msg=error", {}, False),
    ("no errors at all", {}, False),
    ('{"error_level":"none","level":"info"}', {}, False),
    ("level=error", {"level": "info"}, False),
    ("plain", {"detected_level": "Error"}, True),
    ("plain", {"level": "errors-are-us"}, False),
)
"""A line, the labels of its stream, and whether it is an error."""


def test_a_line_is_an_error_by_the_level_of_its_stream_or_by_its_text() -> None:
    written = [line(START, text, namespace=f"n{n}", **labels) for n, (text, labels, _) in enumerate(LINES)]
    found = compute([], tuple(written))
    rates = [(text, found[f"studio/n{n}", END]["error_log_rate"]) for n, (text, _, _) in enumerate(LINES)]
    assert rates == [(text, float(fails)) for text, _, fails in LINES]


def test_a_pod_in_a_crash_loop_counts_once_however_many_events_it_has() -> None:
    looping = "Back-off restarting failed container"
    happened = (
        event(START, "a", "BackOff", looping),
        event(START + MINUTE, "a", "BackOff", looping, count=2),
        event(START + MINUTE, "b", "BackOff", f"{looping} jamie in pod jamie-1_agents(x)", name="jamie-1"),
        event(START, "c", "BackOff", 'Back-off pulling image "x"', name="mary-1"),
        event(START, "d", "Pulled", type="Normal", name="mary-1"),
        event(START, "e", "BackOff", looping, namespace="flux-system"),
        event(START, "f", "NodeNotReady", namespace=None, name="node-1", kind="Node"),
        event(START, "g", "Pulled", type="Normal", namespace="quiet"),
    )
    found = compute([], happened=happened)
    counts = {namespace: (row["crash_loops"], row["warning_events"]) for (namespace, _), row in found.items()}
    assert counts == {"studio/agents": (2, 4), "studio/flux-system": (1, 1), "studio/quiet": (0, 0), "studio/*": (3, 6)}


def test_a_source_that_is_missing_leaves_its_features_null_and_never_zero() -> None:
    names = INFRASTRUCTURE_FEATURES.features
    only_logs = features_of([], (line(START, "hello", namespace="agents"),))
    assert {name for name in names if only_logs[name] is not None} == {"error_log_rate"}
    only_events = features_of([], happened=(event(START, "a", "Pulled", type="Normal"),))
    assert {name for name in names if only_events[name] is not None} == {"crash_loops", "warning_events"}
    only_metrics = features_of(series("kube_pod_container_status_restarts_total", START, [0.0] * 60, **OF_BRUNO))
    assert {name for name in names if only_metrics[name] is not None} == {"restarts"}


def test_clusters_and_namespaces_are_separate_and_the_scrapers_own_label_does_not_count() -> None:
    of_exporter = {**OF_BRUNO, "namespace": "monitoring", "exported_namespace": "agents"}
    counter = [0.0] * 30 + [1.0] * 30
    measured = [
        *series("kube_pod_container_status_restarts_total", START, counter, **of_exporter),
        *series("kube_pod_container_status_restarts_total", START, [0.0] * 60, cluster="forge", **OF_BRUNO),
    ]
    found = {namespace: row["restarts"] for (namespace, _), row in compute(measured).items()}
    assert found == {"studio/agents": 1, "studio/*": 1, "forge/agents": 0, "forge/*": 0}


def test_what_happens_on_the_window_end_belongs_to_the_next_window() -> None:
    found = compute([], (line(END, "level=error", namespace="agents"),))
    assert {end for _, end in found} == {END + HOUR}


def uptime(measured: list[Row]) -> dict[str, float]:
    """Uptime of each agent in the hour after START, in which each has calls that all failed."""
    calls = make_interactions(400, days=1)
    wanted = view_windows(AGENT_FEATURES, LATER, calls)
    wanted = wanted.filter(pa.compute.equal(wanted["event_timestamp"], pa.scalar(END, wanted["event_timestamp"].type)))
    rows = view_rows(AGENT_FEATURES, wanted, calls, metrics(measured)).to_pylist()
    return {row["agent_name"]: row["uptime_percentage"] for row in rows}


def test_uptime_comes_from_the_scrape_job_else_from_the_deployment_else_from_the_calls() -> None:
    by_calls = uptime([])
    measured = [
        *series("up", START, [1.0] * 45 + [0.0] * 15, job="agents/bruno", instance="a"),
        *series("up", START, [0.0] * 54 + [1.0] * 6, job="agents/bruno", instance="b"),
        *series("kube_deployment_status_replicas_available", START, [0.0] * 60, deployment="bruno"),
        *series("kube_deployment_status_replicas_available", START, [2.0] * 30 + [0.0] * 30, deployment="jamie"),
        *series("up", START - HOUR, [0.0] * 60, job="auditor"),
    ]
    found = uptime(measured)
    assert found["bruno"] == pytest.approx(100 * 51 / 60)
    assert found["jamie"] == pytest.approx(50)
    assert found["auditor"] == by_calls["auditor"]


def test_no_later_row_changes_a_window() -> None:
    def restarts(end: datetime) -> int:
        counter = rising(int((end - START) / MINUTE), 1.0)
        return int(
            features_of(series("kube_pod_container_status_restarts_total", START, counter, **OF_BRUNO))["restarts"]
        )

    assert restarts(END) == restarts(END + HOUR) == 59

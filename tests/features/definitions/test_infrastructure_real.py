"""Infrastructure features from real data, from the servers to the feature table, compared with other programs.

A real Prometheus serves pods of the Nezha data set (usage each minute, with its share of the limit) and a histogram of
a day of timed calls; PromQL, which shares no code with it, gives the expected features of an hour. Log lines of
Nezha's services come through Loki's API, events of a cluster whose Velero crashed through that of Kubernetes.
"""

import csv
import gzip
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from features.batch.compute import compute_view
from features.definitions.views import INFRASTRUCTURE_FEATURES
from lake.contracts.telemetry import KUBERNETES_EVENTS, LOGS, METRICS
from lake.lake import Lake, open_lake
from lake.sources.pull import pull_chunk
from lake.sources.selection import Selection
from lake.windows import Window
from settings import read_settings
from tests.lake.sources.conftest import Reader
from tests.lake.sources.kubernetes import Server
from tests.lake.sources.loki import Loki
from tests.lake.sources.peer import serving
from tests.lake.sources.prometheus import instant, make_history, prometheus

DATA = Path(__file__).parents[4] / "shared" / "data"
NEZHA, VELERO = DATA / "real" / "nezha", DATA / "real" / "sbctl_bundle" / "events" / "velero.json"
CALLS = DATA / "interactions" / "raw" / "agents" / "2026-10-26" / "interactions.jsonl.gz"
PODS = ("frontend-579b9bff58-t2dbm", "cartservice-579f59597d-wc2lz", "checkoutservice-578fcf4766-9csqn")
DAY = datetime(2022, 8, 22, tzinfo=UTC)
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
HOURS = [DAY + hour * HOUR for hour in range(6, 12)]
"""Ends of the hours that are compared; the pods were measured from ten to four on."""
BOUNDS_S = (0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
MI = 2**20

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the shared test data are missing")


def pod_metrics() -> Iterator[tuple[str, dict[str, str], float, int]]:
    """Each pod's usage as cAdvisor's and kube-state-metrics' series: name, labels, value, second."""
    for pod in PODS:
        labels = {"namespace": "boutique", "pod": pod, "container": "server"}
        used = 0.0
        with (NEZHA / f"rca_data_2022-08-22_metric_{pod}_metric.csv").open() as file:
            for number, row in enumerate(csv.DictReader(file)):
                at = int(row["TimeStamp"]) // 60 * 60
                milli, memory = float(row["CpuUsage(m)"]), float(row["MemoryUsage(Mi)"])
                used = 0.0 if number in (200, 333) else used + milli / 1000 * 60  # the container restarts twice
                yield "container_cpu_usage_seconds_total", labels, used, at
                yield "container_memory_working_set_bytes", labels, memory * MI, at
                limits = {"cpu": milli / float(row["CpuUsageRate(%)"]) / 10 if milli else 0.02}
                limits["memory"] = memory / float(row["MemoryUsageRate(%)"]) * 100 * MI
                for resource, limit in limits.items():
                    yield "kube_pod_container_resource_limits", {**labels, "resource": resource}, limit, at
                yield "kube_pod_container_status_restarts_total", labels, float(number // 97 % 5), at
                waited = used / 3 if number % 400 else 0.0
                yield "node_pressure_cpu_waiting_seconds_total", {"instance": f"{pod[:4]}:9100"}, waited, at


def call_metrics() -> Iterator[tuple[str, dict[str, str], float, int]]:
    """The calls of a real day as a histogram that is scraped every minute."""
    counts: dict[int, list[float]] = defaultdict(list)
    for text in gzip.decompress(CALLS.read_bytes()).splitlines():
        call = json.loads(text)
        at = datetime.fromisoformat(call["timestamp"].replace("Z", "+00:00"))
        counts[at.hour * 60 + at.minute].append(call["latency_ms"] / 1000)
    seen = dict.fromkeys((*BOUNDS_S, float("inf")), 0)
    for minute in range(24 * 60):
        for taken in counts[minute]:
            seen = {bound: count + (taken <= bound) for bound, count in seen.items()}
        for bound, count in seen.items():
            labels = {"namespace": "boutique", "pod": PODS[0], "le": "+Inf" if bound == float("inf") else str(bound)}
            yield "http_request_duration_seconds_bucket", labels, float(count), int(DAY.timestamp()) + minute * 60


def history() -> str:
    """The metrics of pods and calls as OpenMetrics text."""
    families: dict[str, list[str]] = defaultdict(list)
    for name, labels, value, at in (*pod_metrics(), *call_metrics()):
        label_text = ",".join(f'{label}="{text}"' for label, text in labels.items())
        families[name].append(f"{name}{{{label_text}}} {value!r} {at}")
    lines = [line for name, points in families.items() for line in (f"# TYPE {name} unknown", *points)]
    return "\n".join([*lines, "# EOF"]) + "\n"


QUERIES = {
    "restarts": "sum(increase(kube_pod_container_status_restarts_total[1h]))",
    "cpu_pressure": "sum(increase(container_cpu_usage_seconds_total[1h]))"
    ' / sum(sum_over_time(kube_pod_container_resource_limits{resource="cpu"}[59m]) * 60)',
    "memory_pressure": "max_over_time((sum(container_memory_working_set_bytes)"
    ' / sum(kube_pod_container_resource_limits{resource="memory"}))[59m:1m])',
    "latency_p95_ms": "1000 * histogram_quantile(0.95, sum by (le)"
    " (increase(http_request_duration_seconds_bucket[1h])))",
    "requests_per_hour": 'sum(increase(http_request_duration_seconds_bucket{le="+Inf"}[1h]))',
}
"""PromQL for an hour's features at its last minute: points are at full minutes, so nothing is extrapolated."""
PSI = "avg(increase(node_pressure_cpu_waiting_seconds_total[1h])) / 3600"


@pytest.fixture(scope="module")
def pulled(
    need_binary: Callable[[str, str], str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, dict[tuple[str, datetime], dict[str, Any]]]]:
    """A Prometheus with that history, and the features of the lake that pulled it, by namespace and window end."""
    binary, promtool = need_binary("prometheus", "prometheus"), need_binary("promtool", "prometheus")
    folder = tmp_path_factory.mktemp("history")
    make_history(promtool, folder, history())
    with prometheus(binary, folder, {}) as url:
        settings = read_settings(home=tmp_path_factory.mktemp("home"), lake="test", prometheus=f"studio={url}")
        lake = open_lake(settings, clock=lambda: DAY + 2 * timedelta(days=1))
        every = Selection(data_set=METRICS.name, queries={"all": '{__name__=~".+"}'}, chunk_minutes=240, settle_s=0)
        pull_chunk(lake, every, Window(start=DAY + 4 * HOUR, end=HOURS[-1] + HOUR), connect=Reader())
        yield url, features(lake, METRICS, HOURS[-1] + HOUR)


def features(lake: Lake, source: Any, upto: datetime) -> dict[tuple[str, datetime], dict[str, Any]]:
    pinned = lake.tables.current(source)
    assert pinned
    version = compute_view(lake, INFRASTRUCTURE_FEATURES, [pinned], upto)
    rows = lake.tables.read(version).to_pylist()
    return {(row["cluster_namespace"], row["event_timestamp"]): row for row in rows}


@pytest.mark.parametrize("name", QUERIES)
def test_every_hour_of_real_pods_and_calls_equals_promql(pulled: Any, name: str) -> None:
    url, rows = pulled
    ours, theirs = [], []
    for end in HOURS:
        [expected] = instant(url, QUERIES[name], end - MINUTE)
        theirs.append(float(expected["value"][1]))
        ours.append(rows["studio/boutique", end][name])
    assert ours == pytest.approx(theirs, rel=1e-9)
    assert len(set(theirs)) > 1


def test_the_whole_cluster_has_its_nodes_pressure(pulled: Any) -> None:
    url, rows = pulled
    for end in HOURS:
        [expected] = instant(url, PSI, end - MINUTE)
        assert rows["studio/*", end]["cpu_pressure"] == pytest.approx(float(expected["value"][1]), rel=1e-9)


def test_error_lines_of_real_services_are_counted_by_their_level(tmp_path: Path) -> None:
    csv.field_size_limit(10**7)
    with gzip.open(NEZHA / "rca_data_2023-01-29_log_08_52_log.csv.gz", "rt") as file:
        rows = list(csv.DictReader(file))
    lines = [
        (
            {"namespace": "train-ticket", "pod": row["PodName"], "container": row["Container"]},
            int(row["TimeUnixNano"]),
            json.loads(row["Log"])["log"].rstrip("\n"),
        )
        for row in rows
    ]
    levels = [re.match(r"\d\d:\d\d:\d\d\.\d+ (\w+)", line)[1] for _, _, line in lines]  # type: ignore[index]
    at = datetime(2023, 1, 29, 8, tzinfo=UTC)
    with serving() as peer:
        peer.answer = Loki(lines)
        lake = open_lake(
            read_settings(home=tmp_path, lake="test", loki=f"forge={peer.url}"), clock=lambda: at + 2 * HOUR
        )
        every = Selection(data_set=LOGS.name, queries={"all": '{namespace=~".+"}'}, settle_s=0)
        pull_chunk(lake, every, Window(start=at, end=at + HOUR), connect=Reader())
    row = features(lake, LOGS, at + 2 * HOUR)["forge/train-ticket", at + HOUR]
    unique = dict(zip(map(str, lines), levels, strict=True))
    assert row["error_log_rate"] == pytest.approx(list(unique.values()).count("ERROR") / len(unique), rel=1e-12)
    assert 0 < row["error_log_rate"] < 0.01
    assert row["restarts"] is None


def test_a_real_crash_loop_is_three_pods_whatever_the_events_count(tmp_path: Path) -> None:
    events = json.loads(VELERO.read_text())["items"]
    at = datetime(2022, 4, 12, tzinfo=UTC)
    with serving() as peer:
        peer.answer = Server(events)
        settings = read_settings(home=tmp_path, lake="test", kubernetes=f"forge={peer.url}")
        lake = open_lake(settings, clock=lambda: at + 2 * HOUR)
        every = Selection(data_set=KUBERNETES_EVENTS.name, queries={"all": "*"}, settle_s=0)
        pull_chunk(lake, every, Window(start=at, end=at + HOUR), connect=Reader())
    rows = features(lake, KUBERNETES_EVENTS, at + 2 * HOUR)
    pods = {event["involvedObject"]["name"] for event in events if event["reason"] == "BackOff"}
    row = rows["forge/velero", at + HOUR]
    assert row["crash_loops"] == len(pods) == 3
    assert row["warning_events"] == sum(event["type"] == "Warning" for event in events)
    assert rows["forge/*", at + HOUR]["crash_loops"] == 3
    assert row["error_log_rate"] is None

"""Generated metrics, log lines and events of clusters in the form of the lake's contracts."""

import json
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from lake.contracts.telemetry import KUBERNETES_EVENTS, LOGS, METRICS
from lake.sources.query import canonical, digest

MINUTE = timedelta(minutes=1)
Row = dict[str, Any]


def series(
    metric: str,
    start: datetime,
    values: Iterable[float | None],
    *,
    cluster: str = "studio",
    **labels: str,
) -> list[Row]:
    """One point per minute; None leaves a minute out."""
    text = canonical(labels)
    base = {"series": digest(cluster, metric, text), "cluster": cluster, "metric": metric, "labels": text}
    return [
        {**base, "timestamp": start + number * MINUTE, "value": float(value)}
        for number, value in enumerate(values)
        if value is not None
    ]


def native(
    metric: str,
    start: datetime,
    points: Iterable[dict[tuple[float, float], float]],
    *,
    cluster: str = "studio",
    **labels: str,
) -> list[Row]:
    """Points of a native histogram, one per minute: cumulative observations by bucket."""
    text = canonical(labels)
    base = {"series": digest(cluster, metric, text), "cluster": cluster, "metric": metric, "labels": text}
    return [
        {
            **base,
            "timestamp": start + number * MINUTE,
            "count": float(sum(buckets.values())),
            "sum": 1.0,
            "buckets": json.dumps(
                [[0, f"{low:g}", f"{high:g}", f"{n:g}"] for (low, high), n in buckets.items()], separators=(",", ":")
            ),
        }
        for number, buckets in enumerate(points)
    ]


def line(at: datetime, message: str, *, cluster: str = "studio", **labels: str) -> Row:
    stream, nanoseconds = canonical(labels), int(at.timestamp() * 1_000_000) * 1000
    return {
        "entry_id": digest(cluster, stream, str(nanoseconds), message),
        "timestamp": at,
        "nanoseconds": nanoseconds,
        "cluster": cluster,
        "query": "made",
        "stream": stream,
        "message": message,
    }


def event(at: datetime, uid: str, reason: str, message: str = "", **more: Any) -> Row:
    base = {"cluster": "studio", "namespace": "agents", "kind": "Pod", "name": "bruno-1", "type": "Warning", "count": 1}
    return base | {"uid": uid, "timestamp": at, "event_reason": reason, "message": message} | more


def metrics(rows: list[Row]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=METRICS.arrow_schema)


def logs(rows: list[Row]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=LOGS.arrow_schema)


def events(rows: list[Row]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=KUBERNETES_EVENTS.arrow_schema)


def a_day_of_metrics(day: datetime, *, step: int = 5) -> list[Row]:
    """Two namespaces and the nodes of a cluster: counters with resets, limits, both kinds of histograms."""
    random, rows, points = np.random.default_rng(3), list[Row](), 24 * 60 // step
    for space, pod in (("agents", "bruno-1"), ("agents", "jamie-1"), ("flux-system", "flux-1")):
        labels = {"namespace": space, "pod": pod, "container": "main"}
        restarts = np.cumsum(random.random(points) < 0.05) * 1.0
        restarts[points // 2 :] -= restarts[points // 2]
        used = np.cumsum(random.random(points) * 60 * step)
        rows += _every(step, "kube_pod_container_status_restarts_total", day, restarts, **labels)
        rows += _every(step, "container_cpu_usage_seconds_total", day, used, **labels)
        rows += _every(step, "container_memory_working_set_bytes", day, 1e6 + 1e6 * random.random(points), **labels)
        for resource, limit in (("cpu", 1.5), ("memory", 3e6)):
            limits = np.full(points, limit)
            rows += _every(step, "kube_pod_container_resource_limits", day, limits, **labels, resource=resource)
        seen = np.cumsum(random.integers(0, 9, (points, 4)), axis=0)
        for le, values in zip(("0.1", "0.5", "2.5", "+Inf"), np.cumsum(seen, axis=1).T, strict=True):
            rows += _every(step, "http_request_duration_seconds_bucket", day, values, **labels, le=le)
    answers = (random.random((2, points)) < 0.9) * 1.0
    rows += _every(step, "up", day, answers[0], job="agents/bruno", instance="a:80")
    rows += _every(step, "kube_deployment_status_replicas_available", day, 2 * answers[1], deployment="jamie")
    for node in ("a:9100", "b:9100"):
        waiting = np.cumsum(random.random(points) * step)
        rows += _every(step, "node_pressure_cpu_waiting_seconds_total", day, waiting, instance=node)
    grown = [{(0.25, 0.5): 3.0 * n, (0.5, 1.0): 2.0 * n, (1.0, 2.0): 0.5 * (n // 2)} for n in range(1, points)]
    rows += native("http_server_request_duration_seconds", day, grown, namespace="flux-system")
    return rows


def a_day_of_lines(day: datetime) -> list[Row]:
    plain = ("level=info ok", "level=error no", "E0822 07:01:02.1 1 klog", "plain", "ERROR plain")
    words, spaces = (*plain, '{"level":"warn"}', 'it\\\'s "x"'), ("agents", "flux-system")
    return [
        line(day + 7 * number * MINUTE, f"{words[number % 7]} {number}", namespace=spaces[number % 2])
        for number in range(200)
    ]


def a_day_of_events(day: datetime) -> list[Row]:
    reasons = (("BackOff", "Back-off restarting failed container"), ("Pulled", ""), ("Unhealthy", "Readiness probe"))
    return [
        event(
            day + 11 * number * MINUTE,
            f"uid-{number // 4}",
            *reasons[number % 3],
            count=1 + number % 4,
            type="Normal" if number % 3 == 1 else "Warning",
            namespace=("agents", "flux-system", None)[number % 5 % 3],
            name=f"pod-{number % 6}",
        )
        for number in range(120)
    ]


def _every(step: int, metric: str, day: datetime, values: Iterable[float], **labels: str) -> list[Row]:
    """One point per ``step`` minutes."""
    return [
        {**row, "timestamp": day + number * step * MINUTE}
        for number, row in enumerate(series(metric, day, values, **labels))
    ]


def rising(minutes: int, per_minute: Callable[[int], float] | float, start: float = 0.0) -> list[float]:
    """Values of a counter, one per minute."""
    values, at = [], start
    for minute in range(minutes):
        values.append(at)
        at += per_minute(minute) if callable(per_minute) else per_minute
    return values

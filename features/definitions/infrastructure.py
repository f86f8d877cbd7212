"""Hourly measures of a cluster's namespaces from its metrics, logs and Kubernetes events, as Ibis expressions.

Each part computes one measure as rows (cluster, namespace, hour, measure, value), and the parts are concatenated before
the final pivot. So a missing source leaves its measures null, whatever other sources there are, and a measure is never
zero because it was not measured. The namespace ``*`` is the whole cluster: the sum of all namespaces, and what belongs
to none.

The features (``ml.infrastructure_features``) and ``curated.cluster_health_hourly_v2`` are computed from these measures.
"""

import ibis
from ibis import _

from features.definitions import histograms
from features.definitions.promql import WHOLE, by_container, increases, label, named, namespace, with_whole

RESTARTS = "kube_pod_container_status_restarts_total"
CPU, MEMORY = "container_cpu_usage_seconds_total", "container_memory_working_set_bytes"
LIMITS = "kube_pod_container_resource_limits"
CPU_WAITING, MEMORY_WAITING = "node_pressure_cpu_waiting_seconds_total", "node_pressure_memory_waiting_seconds_total"
UP, AVAILABLE = "up", "kube_deployment_status_replicas_available"
METRICS = (RESTARTS, CPU, MEMORY, LIMITS, CPU_WAITING, MEMORY_WAITING, *histograms.METRICS)
"""Metrics that are read: of kube-state-metrics, cAdvisor and the node exporter, and the request histograms."""
UPTIME_METRICS = (UP, AVAILABLE)

ERROR_LEVEL = "error|err|fatal|critical|crit|alert|emergency|emerg|panic"
ERROR_LINE = (
    rf"(?i:\b(level|lvl|severity)\b[\"']?\s*[:=]\s*[\"']?({ERROR_LEVEL})\b)"  # JSON and logfmt
    r"|(^|\s)[EF][0-9]{4} [0-9]{2}:[0-9]{2}:"  # klog (Kubernetes), also after the container runtime's time and host
    r"|\b(ERROR|FATAL|CRITICAL|PANIC)\b"
)
"""Matches a log line that reports an error, for streams without a level."""

_KEY = ("cluster", "namespace", "hour")
_ROW = (*_KEY, "measure", "value")


def measures(metrics: ibis.Table, logs: ibis.Table, events: ibis.Table) -> ibis.Table:
    """One row for each cluster, namespace and hour with any data, and one column for each measure; null where its
    source is missing.
    """
    parts = [
        _known_hours(metrics, logs, events),
        _restarts(metrics),
        _cpu(metrics),
        _memory(metrics),
        _waiting(metrics, CPU_WAITING, "cpu_waiting"),
        _waiting(metrics, MEMORY_WAITING, "memory_waiting"),
        *_latency(metrics),
        *_logs(logs),
        *_events(events),
    ]
    rows = ibis.union(*(part.select(*_ROW) for part in parts))

    def measure(name: str) -> ibis.Deferred:
        return _.value.max(where=_.measure == name)

    return rows.group_by(*_KEY).agg(
        error_log_rate=measure("error_lines") / measure("log_lines").nullif(0.0),
        log_lines=measure("log_lines"),
        error_lines=measure("error_lines"),
        restarts=measure("restarts"),
        cpu_pressure=ibis.coalesce(measure("cpu_waiting"), measure("cpu")),
        memory_pressure=ibis.coalesce(measure("memory_waiting"), measure("memory")),
        latency_p95_ms=measure("p95_ms"),
        requests_per_hour=measure("requests"),
        crash_loops=measure("crash_loops"),
        warning_events=measure("warning_events"),
    )


def known_hours(metrics: ibis.Table, logs: ibis.Table, events: ibis.Table) -> ibis.Table:
    """Every (cluster, namespace, hour) with any data."""
    return _known_hours(metrics, logs, events).select(*_KEY).distinct()


def uptime(metrics: ibis.Table) -> ibis.Table:
    """``measured_percentage`` of each agent and hour: the share of steps at which the agent was up.

    An agent is up while a target of its scrape job is up (``up``; the job has the agent's name, after an optional
    prefix and slash); an agent without such a job is up while its deployment has an available replica.
    """
    points = metrics.filter(metrics.metric.isin(UPTIME_METRICS), metrics.value.notnull())
    scraped = points.metric == UP
    job = label(points.labels, "job").re_extract(r"([^/]+)$", 1)
    named_points = points.mutate(
        agent_name=ibis.ifelse(scraped, job, label(points.labels, "exported_deployment", "deployment")),
        hour=points.timestamp.truncate("h"),
        scraped=scraped,
    ).filter(_.agent_name.notnull())
    steps = named_points.group_by("agent_name", "hour", "scraped", "timestamp").agg(
        answered=(_.value.max() >= 1).cast("int64")
    )
    shares = steps.group_by("agent_name", "hour", "scraped").agg(share=100.0 * _.answered.sum() / _.count())
    return shares.group_by("agent_name", "hour").agg(
        measured_percentage=ibis.coalesce(_.share.max(where=_.scraped), _.share.max(where=~_.scraped))
    )


def _known_hours(metrics: ibis.Table, logs: ibis.Table, events: ibis.Table) -> ibis.Table:
    sources = [
        metrics.select("cluster", "timestamp", namespace=namespace(metrics.labels)),
        logs.select("cluster", "timestamp", namespace=_log_namespace(logs)),
        events.select("cluster", "timestamp", namespace=ibis.coalesce(events.namespace, "")),
    ]
    hours = [rows.select("cluster", "namespace", hour=rows.timestamp.truncate("h")).distinct() for rows in sources]
    known = with_whole(ibis.union(*hours, distinct=True)).distinct()
    return known.mutate(measure=ibis.literal("known"), value=ibis.literal(1.0)).select(*_ROW)


def _restarts(metrics: ibis.Table) -> ibis.Table:
    risen = increases(by_container(metrics, RESTARTS), ["cluster", "namespace", "pod", "container"])
    hours = with_whole(risen.mutate(value=risen.rise).group_by(*_KEY).agg(value=_.value.sum()))
    return _measure(hours.group_by(*_KEY).agg(value=_.value.sum()), "restarts")


def _cpu(metrics: ibis.Table) -> ibis.Table:
    """CPU time used divided by the CPU limit, over the containers with a limit."""
    used = increases(by_container(metrics, CPU), ["cluster", "namespace", "pod", "container"])
    both = used.inner_join(_limits(metrics, "cpu"), [*_STEP]).drop("hour_right")
    hours = with_whole(both.group_by(*_KEY).agg(used=_.rise.sum(), may=(_["limit"] * _.seconds).sum()))
    totals = hours.group_by(*_KEY).agg(value=_.used.sum() / _.may.sum().nullif(0.0))
    return _measure(totals, "cpu")


def _memory(metrics: ibis.Table) -> ibis.Table:
    """Memory in use divided by the memory limit, over the containers with a limit, at the step with the highest
    share.
    """
    used = by_container(metrics, MEMORY)
    both = used.inner_join(_limits(metrics, "memory"), [*_STEP]).drop("hour_right")
    by_step = (*_KEY, "timestamp")
    steps = with_whole(both.group_by(*by_step).agg(used=_.value.sum(), may=_["limit"].sum()))
    shares = steps.group_by(*by_step).agg(share=_.used.sum() / _.may.sum().nullif(0.0))
    return _measure(shares.group_by(*_KEY).agg(value=_.share.max()), "memory")


_STEP = ("cluster", "namespace", "pod", "container", "timestamp")


def _limits(metrics: ibis.Table, resource: str) -> ibis.Table:
    """The limits of containers at each step, of one resource: the metric has the limits of several."""
    of_resource = metrics.filter(label(metrics.labels, "resource") == resource)
    limits = by_container(of_resource, LIMITS)
    return limits.rename(limit="value").filter(limits.value > 0)


def _waiting(metrics: ibis.Table, metric: str, measure: str) -> ibis.Table:
    """Mean share of time in which a task of a node waited (pressure stall information, ``some``)."""
    risen = increases(named(metrics, metric), ["cluster", "series"])
    hours = risen.group_by("cluster", "hour").agg(value=_.rise.sum() / _.seconds.sum())
    return _measure(hours.mutate(namespace=ibis.literal(WHOLE)), measure)


def _latency(metrics: ibis.Table) -> list[ibis.Table]:
    latencies = histograms.request_latencies(metrics)
    return [_measure(latencies.mutate(value=latencies[name]), name) for name in ("p95_ms", "requests")]


def _logs(logs: ibis.Table) -> list[ibis.Table]:
    """Log lines, and error lines: by the level of their stream, else by a pattern."""
    level = label(logs.stream, "level", "detected_level", "severity")
    is_error = ibis.ifelse(
        level.notnull(), level.lower().re_search(f"^({ERROR_LEVEL})$"), logs.message.re_search(ERROR_LINE)
    )
    lines = logs.mutate(namespace=_log_namespace(logs), hour=logs.timestamp.truncate("h"), says=is_error.cast("int64"))
    hours = with_whole(lines.group_by(*_KEY).agg(lines=_.count(), errors=_.says.sum()))
    totals = hours.group_by(*_KEY).agg(lines=_.lines.sum(), errors=_.errors.sum())
    return [
        _measure(totals.mutate(value=totals[column].cast("float64")), measure)
        for column, measure in (("lines", "log_lines"), ("errors", "error_lines"))
    ]


def _log_namespace(logs: ibis.Table) -> ibis.Value:
    """The namespace of a stream, by the labels of promtail, Alloy and OpenTelemetry; empty where there is none."""
    return ibis.coalesce(label(logs.stream, "namespace", "k8s_namespace_name"), "")


def _events(events: ibis.Table) -> list[ibis.Table]:
    """Pods in a crash loop, and warnings; zero in each namespace of an hour in which the cluster had any event.

    The kubelet reports ``BackOff`` also for an image that cannot be pulled; only the message differs.
    """
    loops = (_.event_reason == "CrashLoopBackOff") | (
        (_.event_reason == "BackOff") & ibis.coalesce(_.message, "").lower().contains("restarting failed")
    )
    parsed = events.mutate(
        hour=events.timestamp.truncate("h"),
        namespace=ibis.coalesce(events.namespace, ""),
        pod=ibis.coalesce(events.namespace, "").concat("/", ibis.coalesce(events.name, events.uid)),
        warns=ibis.coalesce((events.type == "Warning").cast("int64"), 0),
    )
    parsed = parsed.mutate(looping=ibis.ifelse(loops, parsed.pod, None))
    both = with_whole(parsed)
    hours = both.group_by(*_KEY).agg(loops=_.looping.nunique(), warnings=_.warns.sum())
    return [
        _measure(hours.mutate(value=hours[column].cast("float64")), measure)
        for column, measure in (("loops", "crash_loops"), ("warnings", "warning_events"))
    ]


def _measure(rows: ibis.Table, measure: str) -> ibis.Table:
    return rows.mutate(measure=ibis.literal(measure)).select(*_ROW)

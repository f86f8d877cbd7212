"""Collection from metrics, log, event, trace and GitHub servers: which queries, and how often.

The queries are inputs: another lake registers its own. Registration activates a plan once the setting of its server
is there, for example ``FUELLINE_PROMETHEUS``.
"""

from flytekit import LaunchPlan

from lake.sources.registry import pull_source
from lake.sources.selection import Selection
from launchplans.schedule import on_demand, scheduled
from workflows.collection import backfill, collect

METRICS = Selection(
    data_set="processed.metrics",
    queries={
        "nodes": '{__name__=~"node_(cpu_seconds_total|load1|memory_MemAvailable_bytes|filesystem_avail_bytes)"}',
        "pressure": '{__name__=~"node_pressure_(cpu|memory)_waiting_seconds_total"}',
        "containers": '{__name__=~"container_(cpu_usage_seconds_total|memory_working_set_bytes)",container!=""}',
        "workloads": '{__name__=~"kube_(pod_container_(status_restarts_total|resource_limits)'
        '|deployment_status_replicas_available)"}',
        "up": "up",
        "requests": '{__name__=~"http_(server_)?request_duration_seconds(_bucket)?"}',
        "vllm": '{__name__=~"vllm:.*"}',
        "linkerd": '{job="linkerd-proxy",__name__=~"(request|response)_total|response_latency_ms_(bucket|sum|count)"}',
    },
    step_s=60,
    settle_s=120,
)
LOGS = Selection(
    data_set="processed.logs",
    queries={
        "agents": '{namespace="agents"}',
        "flux": '{namespace="flux-system"} | json | level!="debug"',
        "grafana": '{app="grafana"} |= "logger=context" |= "status="',
    },
    lateness_minutes=60,
)
INTERACTIONS = Selection(
    data_set="processed.agent_interactions",
    queries={"interactions": '{namespace="agents"} |= `"interaction_id"`'},
    lateness_minutes=60,
)
EVENTS = Selection(data_set="processed.kubernetes_events", queries={"everywhere": "*"}, settle_s=0)
TRACES = Selection(
    data_set="processed.traces", queries={"agents": '{resource.service.namespace="agents"}'}, lateness_minutes=60
)


def _github(data_set: str, query: str, lateness_hours: int) -> Selection:
    return Selection(
        data_set=data_set,
        queries={"fuelline": query},
        chunk_minutes=24 * 60,
        lateness_minutes=lateness_hours * 60,
        first_hours=7 * 24,
    )


def _collect(name: str, cron: str, selection: Selection, owner: str = "platform", unless: str = "") -> LaunchPlan:
    needs = [pull_source(selection.data_set).peer]
    return scheduled(name, collect, cron, {"selection": selection}, owner=owner, needs=needs, unless=unless)


collect_metrics = _collect("collect_metrics", "*/15 * * * *", METRICS)
"""Nodes, containers, requests, vLLM and Linkerd, one point per minute: the inputs of the infrastructure features."""

collect_logs = _collect("collect_logs", "*/15 * * * *", LOGS)
"""The logs of the agents, Flux and Grafana."""

collect_interactions = _collect("collect_interactions", "*/15 * * * *", INTERACTIONS, owner="agents", unless="logs")
"""For agents that log to standard output and not to files; where files are read too, by ``ingest_hourly``, it would
bring the same interactions by another way, so registration leaves it inactive."""

collect_events = _collect("collect_events", "*/5 * * * *", EVENTS)
"""Often, because an API server keeps a resource version for some minutes only, and an event for an hour."""

collect_traces = _collect("collect_traces", "*/15 * * * *", TRACES)

RUNS = _github("processed.workflow_runs", "fuelline/fuelline", lateness_hours=3 * 24)
collect_workflow_runs = _collect("collect_workflow_runs", "20 * * * *", RUNS)
"""With the three days before, because a workflow run may still change after it was created."""

ISSUES = _github("processed.github_issues", "fuelline/fuelline", lateness_hours=1)
collect_issues = _collect("collect_issues", "40 * * * *", ISSUES)

AUDIT = _github("processed.github_audit", "fuelline", lateness_hours=24)
collect_audit_log = _collect("collect_audit_log", "50 * * * *", AUDIT)

backfill_pulled = on_demand("backfill", backfill, owner="platform", default_inputs={"selection": METRICS})
"""Any span of the past of any pulled data set, as far back as its server keeps it."""

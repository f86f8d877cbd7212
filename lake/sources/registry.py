"""Every data set that is pulled, and how. A new source is one module and one line here."""

from collections.abc import Mapping

from errors import UnknownName
from lake.sources.query import PullSource
from lake.sources.servers.github import audit_rows, issue_rows, run_rows
from lake.sources.servers.kubernetes import event_rows
from lake.sources.servers.loki import interaction_lines, log_rows
from lake.sources.servers.prometheus import metric_rows
from lake.sources.servers.tempo import span_rows

PULL_SOURCES: Mapping[str, PullSource] = {
    "processed.metrics": PullSource(peer="prometheus", rows=metric_rows),
    "processed.logs": PullSource(peer="loki", rows=log_rows),
    "processed.agent_interactions": PullSource(peer="loki", rows=interaction_lines),
    "processed.kubernetes_events": PullSource(peer="kubernetes", rows=event_rows, windowed=False),
    "processed.workflow_runs": PullSource(peer="github", rows=run_rows),
    "processed.github_issues": PullSource(peer="github", rows=issue_rows),
    "processed.github_audit": PullSource(peer="github", rows=audit_rows),
    "processed.traces": PullSource(peer="tempo", rows=span_rows),
}


def pull_source(data_set: str) -> PullSource:
    """How a data set is pulled. Raises ``UnknownName``."""
    if data_set not in PULL_SOURCES:
        raise UnknownName("pulled data set", data_set, PULL_SOURCES)
    return PULL_SOURCES[data_set]

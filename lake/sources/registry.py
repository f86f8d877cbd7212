"""Every data set that is pulled, and how. A new source is one module and one line here."""

from collections.abc import Mapping

from errors import UnknownName
from lake.sources.github import audit_rows, issue_rows, run_rows
from lake.sources.kubernetes import event_rows
from lake.sources.loki import interaction_lines, log_rows
from lake.sources.prometheus import metric_rows
from lake.sources.query import Pullable
from lake.sources.tempo import span_rows

PULLED: Mapping[str, Pullable] = {
    "processed.metrics": Pullable(peer="prometheus", rows=metric_rows),
    "processed.logs": Pullable(peer="loki", rows=log_rows),
    "processed.agent_interactions": Pullable(peer="loki", rows=interaction_lines),
    "processed.kubernetes_events": Pullable(peer="kubernetes", rows=event_rows, windowed=False),
    "processed.workflow_runs": Pullable(peer="github", rows=run_rows),
    "processed.github_issues": Pullable(peer="github", rows=issue_rows),
    "processed.github_audit": Pullable(peer="github", rows=audit_rows),
    "processed.traces": Pullable(peer="tempo", rows=span_rows),
}


def pullable(data_set: str) -> Pullable:
    """How a data set is pulled. Raises ``UnknownName``."""
    if data_set not in PULLED:
        raise UnknownName("pulled data set", data_set, PULLED)
    return PULLED[data_set]

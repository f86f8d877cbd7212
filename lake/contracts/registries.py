"""Registries: the values that columns such as ``agent_name`` may take. A new agent is one line here."""

from collections.abc import Mapping

AGENTS: Mapping[str, str] = {
    "bruno": "runs the homelab's day-to-day requests",
    "auditor": "answers for costs, compliance and records",
    "jamie": "talks with people at the front desk",
    "mary-kay": "takes orders and follows them up",
}

AGENTS_NAMESPACE = "agents"
"""The Kubernetes namespace that the agents run in, on every cluster: its infrastructure features are joined to an
interaction, in training as in serving."""

SPECVERSIONS: Mapping[str, str] = {"1.0": "CloudEvents 1.0, the only supported version"}

REGISTRIES: Mapping[str, frozenset[str]] = {"agents": frozenset(AGENTS), "specversions": frozenset(SPECVERSIONS)}

"""The present traffic, and how long a canary should take in it: reported before any user gets the candidate."""

import contextlib
from collections.abc import Collection
from datetime import timedelta

from errors import UnknownName
from features.batch.schedule import newest
from lake.contracts import contract
from lake.contracts.registries import AGENTS
from lake.lake import Lake
from lake.tables.engine import connect
from serving.policy import CanaryRule, Metric
from serving.rollout.observations import FEEDBACK, read_rows, read_sql
from serving.routing.routes import read_routes, route_for_agent
from serving.statistics.duration import DurationForecast, MetricTraffic, expected_duration

INTERACTIONS = "processed.agent_interactions"
WINDOW = timedelta(days=7)
"""A whole week, so that weekends count."""


def forecast(lake: Lake, model: str, rule: CanaryRule) -> str:
    """How long a decision about this model should take in the newest week of its agents' traffic, a line a metric."""
    routes, agents = read_routes(lake), []
    for agent in sorted(AGENTS):
        with contextlib.suppress(UnknownName):
            if route_for_agent(routes, agent).model == model:
                agents.append(agent)
    expected = _expected(lake, agents, rule)
    if expected is None:
        return "How long a decision takes is not known: its agents have no interaction in the lake's last week."
    return expected.text


def _expected(lake: Lake, agents: Collection[str], rule: CanaryRule) -> DurationForecast | None:
    """The forecast for these agents; None where they have no interaction in the newest week of the lake."""
    version = lake.tables.current(contract(INTERACTIONS))
    if version is None or not agents:
        return None
    since = (newest(lake, version) - WINDOW).isoformat()
    names = ", ".join(f"'{name}'" for name in agents)
    rows = lake.tables.read(
        version,
        columns=("interaction_id", "timestamp", "user_id", "error", "latency_ms", "feedback"),
        where=f"timestamp >= '{since}' and agent_name in ({names})",
    )
    if not rows.num_rows:
        return None
    late_ratings, _ = read_rows(lake, FEEDBACK, ("interaction_id", "value"), f"timestamp >= '{since}'")
    with connect() as engine:
        engine.register("rows", rows)
        engine.register("late_ratings", late_ratings)
        users, hours, requests, rated, *rates = engine.execute(read_sql("traffic"), {"slo": rule.slo_ms}).fetchall()[0]
    counts = {Metric.ERROR: requests, Metric.SLOW: requests, Metric.THUMBS_DOWN: rated}
    traffic = [
        MetricTraffic(metric=metric, per_hour=counts[metric] / float(hours), bad_rate=float(rate))
        for metric, rate in zip(counts, rates, strict=True)
    ]
    return expected_duration(rule, traffic, users)

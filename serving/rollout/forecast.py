"""The present traffic, and how long a canary should take in it: reported before any user meets the candidate."""

import contextlib
from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta

import pyarrow as pa

from errors import UnknownName
from features.batch.schedule import newest
from lake.contracts import contract
from lake.contracts.registries import AGENTS
from lake.lake import Lake
from lake.tables.engine import connect
from serving.policy import CanaryRule, Metric
from serving.routing.routes import read_routes, route_for_agent
from serving.statistics.duration import DurationForecast, MetricTraffic, expected_duration

INTERACTIONS, FEEDBACK = "processed.agent_interactions", "processed.agent_feedback"
WINDOW = timedelta(days=7)
"""A whole week, so that weekends count."""

_SUMS = """
    WITH ratings AS (
        SELECT interaction_id, feedback AS value FROM rows WHERE feedback IS NOT NULL
        UNION SELECT interaction_id, value FROM late_ratings SEMI JOIN rows USING (interaction_id)
    ), rated AS (SELECT interaction_id, min(value) = 0 AS down FROM ratings GROUP BY interaction_id)
    SELECT count(DISTINCT user_id), greatest(1, date_diff('minute', min(timestamp), max(timestamp)) / 60), count(*),
           (SELECT count(*) FROM rated), avg(error::INT), avg((latency_ms > $slo)::INT),
           (SELECT coalesce(avg(down::INT), 0) FROM rated)
    FROM rows
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class RecentTraffic:
    """The requests of one week."""

    users: int
    metrics: list[MetricTraffic]


def forecast_text(lake: Lake, model: str, rule: CanaryRule) -> str:
    """How long a decision about this model should take at the present traffic, a line a metric."""
    expected = forecast(lake, model, rule)
    if expected is None:
        return "How long a decision takes is not known: its agents have no interaction in the lake's last week."
    return expected.text


def forecast(lake: Lake, model: str, rule: CanaryRule) -> DurationForecast | None:
    """How long a decision should take in the newest week of the model's agents; None where they had no traffic."""
    traffic = recent_traffic(lake, agents_by_model(lake).get(model, []), rule.slo_ms)
    return expected_duration(rule, traffic.metrics, traffic.users) if traffic else None


def agents_by_model(lake: Lake) -> dict[str, list[str]]:
    """The agents whose requests each model's versions answer."""
    routes = read_routes(lake)
    agents: dict[str, list[str]] = {}
    for agent in AGENTS:
        with contextlib.suppress(UnknownName):
            agents.setdefault(route_for_agent(routes, agent).model, []).append(agent)
    return agents


def recent_traffic(lake: Lake, agents: Collection[str], slo_ms: int) -> RecentTraffic | None:
    """The newest week of these agents in the lake; None where they have no interaction in it."""
    version = lake.tables.current(contract(INTERACTIONS))
    if version is None or not agents:
        return None
    since = (newest(lake, version) - WINDOW).isoformat()
    names = ", ".join(f"'{name}'" for name in sorted(agents))
    rows = lake.tables.read(
        version,
        columns=("interaction_id", "timestamp", "user_id", "error", "latency_ms", "feedback"),
        where=f"timestamp >= '{since}' and agent_name in ({names})",
    )
    if not rows.num_rows:
        return None
    with connect() as engine:
        engine.register("rows", rows)
        engine.register("late_ratings", _late_ratings(lake, since))
        users, hours, requests, rated, *rates = engine.execute(_SUMS, {"slo": slo_ms}).fetchall()[0]
    counts = {Metric.ERROR: requests, Metric.SLOW: requests, Metric.THUMBS_DOWN: rated}
    return RecentTraffic(
        users=users,
        metrics=[
            MetricTraffic(metric=metric, per_hour=counts[metric] / float(hours), bad_rate=float(rate))
            for metric, rate in zip(counts, rates, strict=True)
        ],
    )


def _late_ratings(lake: Lake, since: str) -> pa.Table:
    """Ratings that came later than the answers."""
    columns, version = ("interaction_id", "value"), lake.tables.current(contract(FEEDBACK))
    if version:
        return lake.tables.read(version, columns=columns, where=f"timestamp >= '{since}'")
    schema = contract(FEEDBACK).arrow_schema
    return pa.schema([schema.field(name) for name in columns]).empty_table()

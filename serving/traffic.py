"""The traffic there is, and how long a canary should take in it: said before anybody meets the candidate."""

from dataclasses import dataclass
from datetime import timedelta

from features.engine import connect
from features.schedule import newest
from lake.contracts import contract
from lake.lake import Lake
from serving.canary_rule import CanaryRule, Metric
from serving.duration import MetricTraffic, RolloutPlan, expected_duration

INTERACTIONS = "processed.agent_interactions"
WINDOW = timedelta(days=7)
"""A whole week, so that weekends count."""

_SUMS = """
    SELECT count(DISTINCT user_id), greatest(1, date_diff('minute', min(timestamp), max(timestamp)) / 60), count(*),
           count(feedback), avg(error::INT), avg((latency_ms > $slo)::INT), coalesce(avg((feedback = 0)::INT), 0)
    FROM rows
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Traffic:
    """What a week of requests looks like."""

    users: int
    metrics: list[MetricTraffic]


def forecast(lake: Lake, rule: CanaryRule) -> RolloutPlan | None:
    """How long a decision should take in the newest week's traffic; None where there is no interaction yet."""
    traffic = recent_traffic(lake, rule.slo_ms)
    return expected_duration(rule, traffic.metrics, traffic.users) if traffic else None


def recent_traffic(lake: Lake, slo_ms: int) -> Traffic | None:
    """The newest week in the lake; None where there is no interaction yet."""
    version = lake.tables.current(contract(INTERACTIONS))
    if version is None:
        return None
    rows = lake.tables.read(
        version,
        columns=("timestamp", "user_id", "error", "latency_ms", "feedback"),
        where=f"timestamp >= '{(newest(lake, version) - WINDOW).isoformat()}'",
    )
    with connect() as engine:
        engine.register("rows", rows)
        users, hours, requests, rated, *rates = engine.execute(_SUMS, {"slo": slo_ms}).fetchall()[0]
    counts = {Metric.ERROR: requests, Metric.SLOW: requests, Metric.THUMBS_DOWN: rated}
    return Traffic(
        users=users,
        metrics=[
            MetricTraffic(metric=metric, per_hour=counts[metric] / float(hours), bad_rate=float(rate))
            for metric, rate in zip(counts, rates, strict=True)
        ],
    )

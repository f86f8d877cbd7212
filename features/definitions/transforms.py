"""The definitions of the features as Ibis expressions: run by DuckDB, and by Trino or Spark for larger tables.

A value at window end T uses only rows with ``timestamp < T``. Ties are broken by rule, so equal inputs give equal rows.
The session of an engine must be in UTC, because ``truncate`` cuts days in the session's zone. Percentiles are by
nearest rank: exact, and the same on every engine, while the engines' own quantile functions interpolate or approximate.
"""

from collections.abc import Sequence

import ibis
import ibis.selectors as cs
from ibis import _

from features.definitions import infrastructure

VERSION = 2
"""Increases with every change of results; a golden test in tests/features checks it."""
ACTIVE_DAYS = 7
"""A user has rows while the last interaction is at most this many days before the end of the window."""


def user_windows(interactions: ibis.Table) -> ibis.Table:
    """Every (user_id, event_timestamp) that has a row: the seven midnights after each day with an interaction."""
    days = interactions.select("user_id", day=interactions.timestamp.truncate("D")).distinct()
    ends = [days.select("user_id", event_timestamp=days.day + ibis.interval(days=n)) for n in range(1, ACTIVE_DAYS + 1)]
    return ibis.union(*ends, distinct=True)


def user_features(interactions: ibis.Table, wanted: ibis.Table) -> ibis.Table:
    """The seven user features for each (user_id, event_timestamp) of ``wanted``, whose timestamps are midnights in UTC.

    Interactions are counted by day first, and only the counts are joined to the windows: a back-fill does not multiply
    the raw rows.
    """
    daily = _daily_counts(interactions)
    end = wanted.event_timestamp
    joined = wanted.join(daily, [wanted.user_id == daily.user_id, daily.day < end], rname="{name}_daily")
    by_agent = joined.group_by("user_id", "event_timestamp", "agent_name").agg(
        queries=_.queries.sum(),
        last_7d=_.queries.sum(where=_.day >= _.event_timestamp - ibis.interval(days=7)),
        last_24h=_.queries.sum(where=_.day >= _.event_timestamp - ibis.interval(days=1)),
        characters=_.characters.sum(),
        errors=_.errors.sum(),
        latency_ms=_.latency_ms.sum(),
    )
    totals = by_agent.group_by("user_id", "event_timestamp").agg(
        total_queries=_.queries.sum(),
        queries_last_7d=_.last_7d.sum().fill_null(0),
        queries_last_24h=_.last_24h.sum().fill_null(0),
        avg_query_length=_.characters.sum() / _.queries.sum(),
        error_rate=_.errors.sum() / _.queries.sum(),
        avg_latency_ms=_.latency_ms.sum() / (_.queries.sum() - _.errors.sum()).nullif(0),
    )
    return totals.inner_join(_most_used(by_agent), ["user_id", "event_timestamp"])


def agent_windows(interactions: ibis.Table) -> ibis.Table:
    """Every (agent_name, event_timestamp) that has a row: the end of each hour with traffic."""
    end = interactions.timestamp.truncate("h") + ibis.interval(hours=1)
    return interactions.select("agent_name", event_timestamp=end).distinct()


def agent_features(interactions: ibis.Table, metrics: ibis.Table, wanted: ibis.Table) -> ibis.Table:
    """The six agent features for each (agent_name, event_timestamp) of ``wanted``; timestamps are full hours, UTC.

    Uptime is measured from metrics where there are any, else estimated from the calls.
    """
    calls = interactions.mutate(
        event_timestamp=interactions.timestamp.truncate("h") + ibis.interval(hours=1),
        five_minutes=interactions.timestamp.minute() // 5,
    )
    calls = calls.semi_join(wanted, ["agent_name", "event_timestamp"])
    uptime = (
        calls.group_by("agent_name", "event_timestamp", "five_minutes")
        .agg(up=(2 * _.error.cast("int64").sum() < _.count()).cast("int64"))
        .group_by("agent_name", "event_timestamp")
        .agg(by_calls=100 * _.up.sum() / _.count())
    )
    hours = infrastructure.uptime(metrics)
    measured = hours.mutate(event_timestamp=hours.hour + ibis.interval(hours=1)).drop("hour")
    uptime = uptime.left_join(measured, ["agent_name", "event_timestamp"]).select(
        "agent_name", "event_timestamp", uptime_percentage=ibis.coalesce(_.measured_percentage, _.by_calls)
    )
    hourly = calls.group_by("agent_name", "event_timestamp").agg(
        requests_per_hour=_.count(),
        error_rate=_.error.cast("int64").sum() / _.count(),
        token_usage_rate=_.tokens_used.sum().cast("float64"),
    )
    both = hourly.inner_join(uptime, ["agent_name", "event_timestamp"])
    return both.left_join(latencies(calls, ["agent_name", "event_timestamp"]), ["agent_name", "event_timestamp"]).drop(
        cs.endswith("_right")
    )


def infrastructure_windows(metrics: ibis.Table, logs: ibis.Table, events: ibis.Table) -> ibis.Table:
    """Every (cluster_namespace, event_timestamp) that has a row: the end of each hour with any data."""
    return _with_keys(infrastructure.known_hours(metrics, logs, events)).select("cluster_namespace", "event_timestamp")


def infrastructure_features(
    metrics: ibis.Table, logs: ibis.Table, events: ibis.Table, wanted: ibis.Table
) -> ibis.Table:
    """The eight infrastructure features for each (cluster_namespace, event_timestamp) of ``wanted``."""
    measured = _with_keys(infrastructure.measures(metrics, logs, events))
    counted = measured.mutate(
        restarts=_.restarts.round().cast("int64"),
        crash_loops=_.crash_loops.cast("int64"),
        warning_events=_.warning_events.cast("int64"),
    )
    return counted.semi_join(wanted, ["cluster_namespace", "event_timestamp"])


def _with_keys(rows: ibis.Table) -> ibis.Table:
    """Rows of a cluster, namespace and hour, with the join key and the end of the window."""
    return rows.mutate(
        cluster_namespace=rows.cluster.concat("/", rows.namespace),
        event_timestamp=rows.hour + ibis.interval(hours=1),
    )


def _daily_counts(interactions: ibis.Table) -> ibis.Table:
    """One row for each user, agent and day; every user feature is a sum of them."""
    days = interactions.mutate(day=interactions.timestamp.truncate("D"), failed=interactions.error.cast("int64"))
    return days.group_by("user_id", "agent_name", "day").agg(
        queries=_.count(),
        characters=_.user_query.length().cast("int64").sum(),
        errors=_.failed.sum(),
        latency_ms=(_.latency_ms * (1 - _.failed)).sum(),
    )


def latencies(calls: ibis.Table, by: Sequence[str]) -> ibis.Table:
    """Median and 95th percentile by nearest rank over the successful calls; one row for each group with any."""
    succeeded = calls.filter(~_.error)
    ranked = succeeded.mutate(
        place=ibis.row_number().over(ibis.window(group_by=list(by), order_by="latency_ms")) + 1,
        calls=_.count().over(ibis.window(group_by=list(by))),
    )
    return ranked.group_by(*by).agg(
        latency_p50_ms=_.latency_ms.min(where=100 * _.place >= 50 * _.calls).cast("float64"),
        latency_p95_ms=_.latency_ms.min(where=100 * _.place >= 95 * _.calls).cast("float64"),
    )


def _most_used(by_agent: ibis.Table) -> ibis.Table:
    """The agent with the most queries of each user and window; the first by name if several have the same number."""
    order = ibis.window(group_by=["user_id", "event_timestamp"], order_by=[_.queries.desc(), _.agent_name])
    first = by_agent.mutate(place=ibis.row_number().over(order)).filter(_.place == 0)
    return first.select("user_id", "event_timestamp", most_used_agent="agent_name")

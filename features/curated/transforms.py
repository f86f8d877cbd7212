"""The definitions of the curated tables as Ibis expressions: run by DuckDB here, and by Spark or Trino.

A day is [00:00, next 00:00) UTC, an hour likewise: ``timestamp < end``, as in ``features.definitions.transforms``, so
the session of an engine must be in UTC. A row is a function of the input rows of its own day, and of the feedback up to
``FEEDBACK_DAYS`` days after it. So a day can be rebuilt from its own inputs, and later rows do not change it.
"""

import ibis
import ibis.selectors as cs
from ibis import _

from features.definitions import infrastructure
from features.definitions.promql import WHOLE
from features.definitions.transforms import latencies

FEEDBACK_DAYS = 7
"""Full days after an interaction's own day in which feedback still counts."""


MEASURES = (
    "log_lines",
    "error_log_rate",
    "restarts",
    "cpu_pressure",
    "memory_pressure",
    "measured_requests",
    "measured_latency_p95_ms",
    "crash_loops",
    "warning_events",
)
"""Measures of a cluster from metrics, logs and events, which are kept for days; the table's rows are kept for a
year."""
_COUNTS = ("log_lines", "restarts", "crash_loops", "warning_events")


def agent_performance_daily(calls: ibis.Table, feedback: ibis.Table) -> ibis.Table:
    """One row for each agent and day, from ``processed.agent_interactions`` and ``processed.agent_feedback``."""
    by, calls_of_day = ("agent_name", "day"), _rated(calls, feedback)
    daily = calls_of_day.group_by(*by).agg(
        requests=_.count(),
        users=_.user_id.nunique(),
        errors=_.failed.sum(),
        error_rate=_.failed.sum() / _.count(),
        latency_mean_ms=_mean_latency(),
        tokens=_.tokens_used.sum(),
        tokens_per_request=_.tokens_used.sum() / _.count(),
        rated=_.feedback.count(),
        thumbs_up=_.feedback.sum().fill_null(0),
        liked=_.feedback.sum() / _.feedback.count().nullif(0),
        last_request_at=_.timestamp.max(),
    )
    return _with_latencies(daily, calls_of_day, by)


def user_interaction_summary(calls: ibis.Table, feedback: ibis.Table) -> ibis.Table:
    """One row for each user and day, from the same inputs."""
    by, calls_of_day = ("user_id", "day"), _rated(calls, feedback)
    daily = calls_of_day.group_by(*by).agg(
        requests=_.count(),
        agents=_.agent_name.nunique(),
        errors=_.failed.sum(),
        error_rate=_.failed.sum() / _.count(),
        latency_mean_ms=_mean_latency(),
        tokens=_.tokens_used.sum(),
        rated=_.feedback.count(),
        thumbs_up=_.feedback.sum().fill_null(0),
        first_request_at=_.timestamp.min(),
        last_request_at=_.timestamp.max(),
    )
    counted = calls_of_day.group_by(*by, "agent_name").agg(queries=_.count())
    order = ibis.window(group_by=list(by), order_by=[_.queries.desc(), _.agent_name])
    first = counted.mutate(place=ibis.row_number().over(order)).filter(_.place == 0)
    return daily.inner_join(first.select(*by, most_used_agent="agent_name"), list(by))


def cluster_health_hourly(
    calls: ibis.Table, metrics: ibis.Table, logs: ibis.Table, events: ibis.Table, present: ibis.Table
) -> ibis.Table:
    """One row for each cluster and hour with any data, from ``processed.agent_interactions``, ``metrics``, ``logs`` and
    ``kubernetes_events``; ``present`` are the table's rows so far, for measures whose inputs are gone.
    """
    by = ("cluster", "hour")
    traffic, measured = _traffic(calls), _measured(metrics, logs, events)
    kept = present.select(
        "cluster", hour=present.hour.truncate("h"), **{f"{name}_kept": present[name] for name in MEASURES}
    )
    known = ibis.union(*(part.select(*by) for part in (traffic, measured, kept)), distinct=True)
    every = known.left_join(traffic, list(by)).drop(cs.endswith("_right"))
    every = every.left_join(measured, list(by)).drop(cs.endswith("_right"))
    every = every.left_join(kept, list(by)).drop(cs.endswith("_right"))
    none = {name: ibis.coalesce(_[name], 0) for name in ("requests", "agents", "errors", "tokens")}
    both = {name: ibis.coalesce(_[name], _[f"{name}_kept"]) for name in MEASURES}
    return every.mutate(**none, **both).drop(cs.endswith("_kept"))


def _traffic(calls: ibis.Table) -> ibis.Table:
    """Traffic of the agents: one row for each cluster and hour with calls."""
    by = ("cluster", "hour")
    calls_of_day = calls.mutate(hour=calls.timestamp.truncate("h"), failed=calls.error.cast("int64"))
    hourly = calls_of_day.group_by(*by).agg(
        requests=_.count(),
        agents=_.agent_name.nunique(),
        errors=_.failed.sum(),
        error_rate=_.failed.sum() / _.count(),
        tokens=_.tokens_used.sum(),
        last_request_at=_.timestamp.max(),
    )
    return _with_latencies(hourly, calls_of_day, by)


def _measured(metrics: ibis.Table, logs: ibis.Table, events: ibis.Table) -> ibis.Table:
    """Measures of whole clusters: one row for each cluster and hour with any data."""
    measures = infrastructure.measures(metrics, logs, events)
    whole = measures.filter(measures.namespace == WHOLE).rename(
        measured_requests="requests_per_hour", measured_latency_p95_ms="latency_p95_ms"
    )
    counted = whole.mutate(**{name: whole[name].round().cast("int64") for name in _COUNTS})
    return counted.select("cluster", "hour", *MEASURES)


def training_datasets(rows: ibis.Table, trainings: ibis.Table) -> ibis.Table:
    """One row for each training set, from ``ml.training_sets`` and the ledger's record of each."""
    test = _.split == "test"
    sets = rows.group_by("training_set_id").agg(
        split_at=_.timestamp.min(where=test),
        first_timestamp=_.timestamp.min(),
        last_timestamp=_.timestamp.max(),
        rows=_.count(),
        train_rows=(~test).cast("int64").sum(),
        test_rows=test.cast("int64").sum(),
        weighing_rows=((~test) & (_.weight > 0)).cast("int64").sum(),
        rated=_.feedback.count(),
        thumbs_up=_.feedback.sum().fill_null(0),
        agents=_.agent_name.nunique(),
        users=_.user_id.nunique(),
    )
    return sets.left_join(trainings, "training_set_id").drop("training_set_id_right")


def _rated(calls: ibis.Table, feedback: ibis.Table) -> ibis.Table:
    """Each interaction with its day, and the latest feedback that arrived in time, or else its own."""
    calls_of_day = calls.mutate(day=calls.timestamp.truncate("D"), failed=calls.error.cast("int64"))
    ratings = feedback.select("interaction_id", thumb=feedback.value, given_at=feedback.timestamp)
    dated = ratings.inner_join(calls_of_day.select("interaction_id", "day"), "interaction_id")
    in_time = dated.filter(_.given_at >= _.day, _.given_at < _.day + ibis.interval(days=1 + FEEDBACK_DAYS))
    newest_first = ibis.window(group_by=["interaction_id", "day"], order_by=_.given_at.desc())
    latest = in_time.mutate(place=ibis.row_number().over(newest_first)).filter(_.place == 0)
    both = calls_of_day.left_join(latest.select("interaction_id", "day", "thumb"), ["interaction_id", "day"])
    return both.mutate(feedback=_.thumb.coalesce(_.feedback)).drop("interaction_id_right", "day_right", "thumb")


def _mean_latency() -> ibis.Deferred:
    """Mean latency of the successful calls; null if there are none."""
    return (_.latency_ms * (1 - _.failed)).sum() / (_.count() - _.failed.sum()).nullif(0)


def _with_latencies(groups: ibis.Table, calls: ibis.Table, by: tuple[str, ...]) -> ibis.Table:
    return groups.left_join(latencies(calls, by), list(by)).drop(cs.endswith("_right"))

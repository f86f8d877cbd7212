"""The curated tables' definitions, written once as Ibis expressions: DuckDB runs them here, and Spark and Trino can.

A day is [00:00, next 00:00) UTC, an hour likewise: ``timestamp < end``, as in ``features.definitions.transforms``, so
engines run with their session in UTC. A row is a function of the input rows of its own day, and of the thumbs up to
``THUMBS_DAYS`` days after it. So a day can be rebuilt from what is in it, and what comes later than that changes no
row.
"""

from typing import TYPE_CHECKING

from features.definitions import infrastructure
from features.definitions.transforms import latencies

if TYPE_CHECKING:
    import ibis

THUMBS_DAYS = 7
"""Full days after an interaction's own in which a thumb still counts."""


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
"""What metrics, logs and events say of a cluster. They are let go after days, the table's rows after a year."""
_COUNTS = ("log_lines", "restarts", "crash_loops", "warning_events")


def agent_performance_daily(calls: "ibis.Table", thumbs: "ibis.Table") -> "ibis.Table":
    """One row an agent and day, from ``processed.agent_interactions`` and ``processed.agent_feedback``."""
    from ibis import _

    by, asked = ("agent_name", "day"), _rated(calls, thumbs)
    daily = asked.group_by(*by).agg(
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
    return _with_latencies(daily, asked, by)


def user_interaction_summary(calls: "ibis.Table", thumbs: "ibis.Table") -> "ibis.Table":
    """One row a user and day, from the same two."""
    import ibis
    from ibis import _

    by, asked = ("user_id", "day"), _rated(calls, thumbs)
    daily = asked.group_by(*by).agg(
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
    counted = asked.group_by(*by, "agent_name").agg(queries=_.count())
    order = ibis.window(group_by=list(by), order_by=[_.queries.desc(), _.agent_name])
    first = counted.mutate(place=ibis.row_number().over(order)).filter(_.place == 0)
    return daily.inner_join(first.select(*by, most_used_agent="agent_name"), list(by))


def cluster_health_hourly(
    calls: "ibis.Table", metrics: "ibis.Table", logs: "ibis.Table", events: "ibis.Table", stands: "ibis.Table"
) -> "ibis.Table":
    """One row a cluster and hour of which anything is known, from ``processed.agent_interactions``, ``metrics``,
    ``logs`` and ``kubernetes_events``; ``stands`` are the rows so far, for what an input no longer says.
    """
    import ibis
    import ibis.selectors as cs
    from ibis import _

    by = ("cluster", "hour")
    traffic, told = _traffic(calls), _measured(metrics, logs, events)
    kept = stands.select(
        "cluster", hour=stands.hour.truncate("h"), **{f"{name}_kept": stands[name] for name in MEASURES}
    )
    known = ibis.union(*(one.select(*by) for one in (traffic, told, kept)), distinct=True)
    every = known.left_join(traffic, list(by)).drop(cs.endswith("_right"))
    every = every.left_join(told, list(by)).drop(cs.endswith("_right"))
    every = every.left_join(kept, list(by)).drop(cs.endswith("_right"))
    none = {name: ibis.coalesce(_[name], 0) for name in ("requests", "agents", "errors", "tokens")}
    both = {name: ibis.coalesce(_[name], _[f"{name}_kept"]) for name in MEASURES}
    return every.mutate(**none, **both).drop(cs.endswith("_kept"))


def _traffic(calls: "ibis.Table") -> "ibis.Table":
    """What the agents' calls say, a row a cluster and hour with any."""
    from ibis import _

    by = ("cluster", "hour")
    asked = calls.mutate(hour=calls.timestamp.truncate("h"), failed=calls.error.cast("int64"))
    hourly = asked.group_by(*by).agg(
        requests=_.count(),
        agents=_.agent_name.nunique(),
        errors=_.failed.sum(),
        error_rate=_.failed.sum() / _.count(),
        tokens=_.tokens_used.sum(),
        last_request_at=_.timestamp.max(),
    )
    return _with_latencies(hourly, asked, by)


def _measured(metrics: "ibis.Table", logs: "ibis.Table", events: "ibis.Table") -> "ibis.Table":
    """What the sources say of the whole cluster, a row a cluster and hour that one of them tells of."""
    told = infrastructure.measures(metrics, logs, events)
    whole = told.filter(told.namespace == infrastructure.WHOLE).rename(
        measured_requests="requests_per_hour", measured_latency_p95_ms="latency_p95_ms"
    )
    counted = whole.mutate(**{name: whole[name].round().cast("int64") for name in _COUNTS})
    return counted.select("cluster", "hour", *MEASURES)


def training_datasets(rows: "ibis.Table", trainings: "ibis.Table") -> "ibis.Table":
    """One row a training set, from ``ml.training_sets`` and what the ledger says of each."""
    from ibis import _

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


def _rated(calls: "ibis.Table", thumbs: "ibis.Table") -> "ibis.Table":
    """Each interaction with its day and the latest thumb that came in time, or its own where nobody rated it later."""
    import ibis
    from ibis import _

    asked = calls.mutate(day=calls.timestamp.truncate("D"), failed=calls.error.cast("int64"))
    given = thumbs.select("interaction_id", thumb=thumbs.value, given_at=thumbs.timestamp)
    about = given.inner_join(asked.select("interaction_id", "day"), "interaction_id")
    in_time = about.filter(_.given_at >= _.day, _.given_at < _.day + ibis.interval(days=1 + THUMBS_DAYS))
    newest_first = ibis.window(group_by=["interaction_id", "day"], order_by=_.given_at.desc())
    latest = in_time.mutate(place=ibis.row_number().over(newest_first)).filter(_.place == 0)
    both = asked.left_join(latest.select("interaction_id", "day", "thumb"), ["interaction_id", "day"])
    return both.mutate(feedback=_.thumb.coalesce(_.feedback)).drop("interaction_id_right", "day_right", "thumb")


def _mean_latency() -> "ibis.Deferred":
    """Of the calls that succeeded; null where none did."""
    from ibis import _

    return (_.latency_ms * (1 - _.failed)).sum() / (_.count() - _.failed.sum()).nullif(0)


def _with_latencies(groups: "ibis.Table", calls: "ibis.Table", by: tuple[str, ...]) -> "ibis.Table":
    import ibis.selectors as cs

    return groups.left_join(latencies(calls, by), list(by)).drop(cs.endswith("_right"))

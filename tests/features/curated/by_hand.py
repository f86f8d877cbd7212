"""The curated tables in plain pandas: a second definition that shares no code with the first."""

import math
from collections.abc import Callable

import pandas as pd

MEASURES = (
    *("log_lines", "error_log_rate", "restarts", "cpu_pressure", "memory_pressure", "measured_requests"),
    *("measured_latency_p95_ms", "crash_loops", "warning_events"),
)


def agent_days(calls: pd.DataFrame, feedback: pd.DataFrame) -> pd.DataFrame:
    """``curated.agent_performance_daily``."""
    return _groups(_rated(calls, feedback), ["agent_name", "day"], _agent_day)


def user_days(calls: pd.DataFrame, feedback: pd.DataFrame) -> pd.DataFrame:
    """``curated.user_interaction_summary``."""
    return _groups(_rated(calls, feedback), ["user_id", "day"], _user_day)


def cluster_hours(calls: pd.DataFrame, feedback: pd.DataFrame) -> pd.DataFrame:
    """``curated.cluster_health_hourly_v2``."""
    return _groups(calls.assign(hour=calls["timestamp"].dt.floor("h")), ["cluster", "hour"], _cluster_hour)


def _groups(calls: pd.DataFrame, by: list[str], aggregate: Callable[[pd.DataFrame], dict[str, object]]) -> pd.DataFrame:
    rows = [dict(zip(by, key, strict=True)) | aggregate(group) for key, group in calls.groupby(by)]
    return pd.DataFrame(rows)


def _agent_day(calls: pd.DataFrame) -> dict[str, object]:
    rated = calls["feedback"].dropna()
    return {
        **_common(calls),
        **_latencies(calls),
        "users": calls["user_id"].nunique(),
        "latency_mean_ms": _mean(calls),
        "tokens_per_request": sum(calls["tokens_used"]) / len(calls),
        "rated": len(rated),
        "thumbs_up": sum(rated == 1),
        "liked": sum(rated == 1) / len(rated) if len(rated) else None,
    }


def _user_day(calls: pd.DataFrame) -> dict[str, object]:
    counts = calls["agent_name"].value_counts()
    rated = calls["feedback"].dropna()
    return {
        **_common(calls),
        "agents": calls["agent_name"].nunique(),
        "most_used_agent": min(counts[counts == counts.max()].index),
        "latency_mean_ms": _mean(calls),
        "rated": len(rated),
        "thumbs_up": sum(rated == 1),
        "first_request_at": calls["timestamp"].min(),
    }


def _cluster_hour(calls: pd.DataFrame) -> dict[str, object]:
    unknown = dict.fromkeys(MEASURES, math.nan)  # there are calls only
    return {**_common(calls), **_latencies(calls), "agents": calls["agent_name"].nunique(), **unknown}


def _common(calls: pd.DataFrame) -> dict[str, object]:
    return {
        "requests": len(calls),
        "errors": sum(calls["error"]),
        "error_rate": sum(calls["error"]) / len(calls),
        "tokens": sum(calls["tokens_used"]),
        "last_request_at": calls["timestamp"].max(),
    }


def _latencies(calls: pd.DataFrame) -> dict[str, object]:
    ordered = sorted(calls.loc[~calls["error"], "latency_ms"])
    percentiles = {"latency_p50_ms": 50, "latency_p95_ms": 95}
    return {n: ordered[math.ceil(p * len(ordered) / 100) - 1] if ordered else None for n, p in percentiles.items()}


def _mean(calls: pd.DataFrame) -> float | None:
    good = calls.loc[~calls["error"], "latency_ms"]
    return sum(good) / len(good) if len(good) else None


def _rated(calls: pd.DataFrame, feedback: pd.DataFrame) -> pd.DataFrame:
    """Each call with its day, and with the newest feedback before the eighth midnight after it."""
    found = calls.assign(day=calls["timestamp"].dt.floor("D"))
    days = dict(zip(found["interaction_id"], found["day"], strict=True))
    newest: dict[str, int] = {}
    for rating in feedback.sort_values("timestamp").to_dict("records"):
        day = days.get(rating["interaction_id"])
        if day is not None and day <= rating["timestamp"] < day + pd.Timedelta(days=8):
            newest[rating["interaction_id"]] = rating["value"]
    late = found["interaction_id"].map(newest).astype("Int64")
    return found.assign(feedback=late.fillna(found["feedback"]))

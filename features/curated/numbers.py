"""The newest figures of a curated table for a deck: a few rows, without user ids."""

from collections.abc import Mapping

import pyarrow.compute as pc

from lake.contracts.curated import AGENT_PERFORMANCE_DAILY, CLUSTER_HEALTH_HOURLY, USER_INTERACTION_SUMMARY
from lake.contracts.training_datasets import TRAINING_DATASETS
from lake.lake import Lake
from lake.tables.engine import query
from lake.tables.versions import TableVersion

Row = dict[str, str | int | float | None]

_QUERIES: Mapping[str, tuple[str, str]] = {
    AGENT_PERFORMANCE_DAILY.table: (
        "day",
        """SELECT agent_name AS agent, requests, users, 100 * error_rate AS "failed, %",
            latency_p50_ms AS "p50, ms", latency_p95_ms AS "p95, ms", tokens, rated, 100 * liked AS "liked, %"
        FROM rows ORDER BY agent_name""",
    ),
    USER_INTERACTION_SUMMARY.table: (
        "day",
        """SELECT count(*) AS users, sum(requests)::BIGINT AS requests, max(requests) AS "most of one user",
            sum(errors)::BIGINT AS errors, sum(tokens)::BIGINT AS tokens, sum(rated)::BIGINT AS rated FROM rows""",
    ),
    CLUSTER_HEALTH_HOURLY.table: (
        "hour",
        """SELECT cluster, strftime(hour, '%H:%M') AS "hour (UTC)", requests, agents, 100 * error_rate AS "failed, %",
            latency_p50_ms AS "p50, ms", latency_p95_ms AS "p95, ms", restarts, crash_loops AS "crash loops",
            100 * error_log_rate AS "error lines, %", 100 * cpu_pressure AS "CPU, %",
            100 * memory_pressure AS "memory, %" FROM rows ORDER BY cluster, hour""",
    ),
    TRAINING_DATASETS.table: (
        "split_at",
        """SELECT training_set_id[:8] AS "set", model, rows, train_rows AS train, test_rows AS test, rated,
            strftime(split_at, '%Y-%m-%d %H:%M') AS "split (UTC)", trainings, model_versions AS versions
        FROM rows ORDER BY split_at""",
    ),
}


def newest_numbers(lake: Lake, version: TableVersion) -> tuple[str, list[Row]]:
    """The newest day of a curated table's version (``2026-11-08``) and its figures, with the columns of a deck's
    table.
    """
    column, sql = _QUERIES[version.table]
    newest = pc.max(lake.tables.read(version, columns=[column])[column]).as_py()
    if newest is None:
        return "no day yet", []
    start = newest.replace(hour=0, minute=0, second=0, microsecond=0)
    rows = lake.tables.read(version, where=f"{column} >= '{start.isoformat()}'")
    return f"{newest:%Y-%m-%d}", query(sql, rows=rows).to_pylist()

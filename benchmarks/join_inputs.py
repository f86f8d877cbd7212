"""The inputs of the join benchmark: daily feature rows of every user, and requests at random times; seeded."""

from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.join import DAYS
from features.definitions.views import USER_FEATURES


def write_features(path: str, users: int, kind: str, scratch: str) -> None:
    """Daily rows of every user, in the order in which materialization appends them."""
    random, rows, day = np.random.default_rng(0), users * DAYS, 86_400 * 10**6
    event = np.repeat(_first_day() + np.arange(DAYS) * day, users)
    delay = np.full(rows, 2 * day // 24) if kind == "scheduled" else random.integers(0, 3 * day, rows)
    names, agents = (
        np.array([f"user-{n:05d}" for n in range(users)]),
        np.array(["auditor", "bruno", "jamie", "mary-kay"]),
    )
    drawn = {
        "user_id": np.tile(names, DAYS),
        "event_timestamp": event,
        "created_timestamp": event + delay,
        "total_queries": random.integers(1, 5_000, rows),
        "queries_last_7d": random.integers(1, 300, rows),
        "queries_last_24h": random.integers(0, 60, rows),
        "avg_query_length": random.uniform(10, 300, rows),
        "most_used_agent": random.choice(agents, rows),
        "error_rate": random.random(rows),
        "avg_latency_ms": random.uniform(100, 30_000, rows),
    }
    schema = USER_FEATURES.contract.arrow_schema
    pq.write_table(pa.table([pa.array(drawn[field.name]).cast(field.type) for field in schema], schema=schema), path)


def write_entities(path: str, rows: int, users: int, scratch: str) -> None:
    """Requests of random users at random times, 1% of them unknown users."""
    random = np.random.default_rng(1)
    instants = _first_day() + random.integers(0, (DAYS + 7) * 86_400 * 10**6, rows)
    columns = {
        "interaction_id": pa.array([f"i{n}" for n in range(rows)]),
        "timestamp": pa.array(instants).cast(pa.timestamp("us", tz="UTC")),
        "user_id": pa.array([f"user-{n:05d}" for n in random.integers(0, users * 101 // 100, rows)]),
    }
    pq.write_table(pa.table(columns), path)


def _first_day() -> int:
    return int(datetime(2026, 9, 1, tzinfo=UTC).timestamp()) * 10**6

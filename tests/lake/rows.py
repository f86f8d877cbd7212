"""Interactions for the lake's tests."""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from lake.contracts.agent_interactions import AGENT_INTERACTIONS
from lake.contracts.base import Contract
from lake.lake import Lake
from lake.tables.commit_keys import find_commit

START = datetime(2026, 10, 1, tzinfo=UTC)


def interaction(number: int = 0, **changes: Any) -> dict[str, Any]:
    """A good interaction in the form of a log; different numbers give rows with different ids."""
    at = START + timedelta(minutes=number)
    row = {
        "interaction_id": f"i{number:06d}",
        "timestamp": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "agent_name": ("bruno", "auditor", "jamie", "mary-kay")[number % 4],
        "user_id": f"user-{number % 7}",
        "user_query": f"question {number}: café \u2603?",
        "response": f'answer "{number}"',
        "latency_ms": 100 + number % 1000,
        "tokens_used": 1 + number % 50,
        "error": False,
        "feedback": (0, 1, None)[number % 3],
        "model_version": "base",
        "cluster": ("studio", "forge")[number % 2],
    }
    return row | changes


def lines(rows: Iterable[Mapping[str, Any]]) -> bytes:
    """Rows as JSON lines."""
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)


def table(rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Rows as a table of the contract."""
    typed = [{**row, "timestamp": datetime.fromisoformat(row["timestamp"])} for row in rows]
    return pa.Table.from_pylist(typed, schema=AGENT_INTERACTIONS.arrow_schema)


def summary_of(lake: Lake, contract: Contract, key: str) -> dict[str, str]:
    """The summary of the commit under a key."""
    commit = find_commit(lake.store, lake.tables.load(contract.table), key)
    assert commit
    return commit.summary

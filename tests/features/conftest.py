"""Interactions to compute features from."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa

from lake.contracts.agent_interactions import AGENT_INTERACTIONS

FIRST_DAY = datetime(2026, 3, 2, tzinfo=UTC)
AGENTS = ("bruno", "auditor", "jamie", "mary-kay")


def make_interactions(
    rows: int, *, days: int = 4, users: int = 6, seed: int = 0, first: datetime = FIRST_DAY
) -> pa.Table:
    """Random interactions in the contract's form, ``rows`` at most; some lie exactly on a midnight or a full hour."""
    random = np.random.default_rng(seed)
    micros = random.integers(0, days * 86_400 * 10**6, rows)
    micros[: rows // 20] -= micros[: rows // 20] % (3_600 * 10**6)
    micros[: rows // 40] -= micros[: rows // 40] % (86_400 * 10**6)
    failed = random.random(rows) < 0.3
    feedback = random.choice([0, 1, -1], rows)
    agents = random.choice(AGENTS, rows)
    # Two rows with the same time and agent would conflict: only the first is kept.
    kept = np.sort(np.unique(np.char.add(micros.astype(str), agents), return_index=True)[1])
    drawn = pa.table(
        {
            "interaction_id": [f"i{seed}-{n}" for n in range(rows)],
            "timestamp": [first + timedelta(microseconds=int(m)) for m in micros],
            "agent_name": agents,
            "user_id": [f"user-{n}" for n in random.integers(0, users, rows)],
            "user_query": ["é" * int(n) for n in random.integers(1, 60, rows)],
            "response": [f"answer {n}" for n in range(rows)],
            "latency_ms": np.where(failed, 0, random.integers(100, 30_000, rows)),
            "tokens_used": random.integers(1, 500, rows),
            "error": failed,
            "feedback": pa.array(feedback, mask=feedback < 0),
            "model_version": ["base"] * rows,
            "cluster": ["studio"] * rows,
        },
        schema=AGENT_INTERACTIONS.arrow_schema,
    )
    return drawn.take(kept)

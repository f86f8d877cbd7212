"""The real interactions of two weeks, read without any of the project's own code."""

import gzip
import json
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from lake.contracts.agent_interactions import AGENT_INTERACTIONS

LOGS = Path(__file__).parents[4] / "shared" / "data" / "interactions" / "raw" / "agents"


def real_logs(folder: Path = LOGS) -> list[Path]:
    """The log of each day, in order; skips if the shared data are missing."""
    if not folder.is_dir():
        pytest.skip(f"the shared interactions are missing: {folder}")
    return sorted(folder.glob("*/interactions.jsonl.gz"))


@pytest.fixture(scope="session")
def real_frame() -> pd.DataFrame:
    """Every logged interaction that the contract admits (75 calls were slower than it allows)."""
    rows = [json.loads(line) for path in real_logs() for line in gzip.decompress(path.read_bytes()).splitlines()]
    frame = pd.DataFrame(rows)
    frame["timestamp"] = pd.to_datetime(frame["timestamp"], utc=True, format="ISO8601").astype("datetime64[us, UTC]")
    frame["feedback"] = frame["feedback"].astype("Int64")
    return frame[frame["latency_ms"] <= 30_000].reset_index(drop=True)


@pytest.fixture(scope="session")
def real_interactions(real_frame: pd.DataFrame) -> pa.Table:
    """The same in the contract's form."""
    schema = AGENT_INTERACTIONS.arrow_schema
    return pa.Table.from_pandas(real_frame[schema.names], schema=schema, preserve_index=False)

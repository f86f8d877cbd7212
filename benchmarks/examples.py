"""Rows to train on, the same for both trainers: well-rated answers of the built-in sample."""

import gzip
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any


def write(path: str, rows: int, scratch: str) -> None:
    """Write ``rows`` rows as JSON lines."""
    from lake.sample.generate import write_sample

    with TemporaryDirectory(dir=scratch) as folder:
        logs = sorted(write_sample(Path(folder)).rglob("*.gz"))
        lines = [line for log in logs for line in gzip.decompress(log.read_bytes()).splitlines()]
    good = [row for line in lines if (row := _good(line))]
    with Path(path).open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in good[:rows])


def read(path: str) -> list[dict[str, Any]]:
    """The rows that ``write`` wrote: ``agent_name``, ``user_query``, ``response``, ``weight`` and two user features."""
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


def _good(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    if not isinstance(row, dict) or row.get("feedback") != 1 or not row.get("response"):
        return None
    features = {"weight": 1.0, "total_queries": int(row["tokens_used"]) % 40, "avg_query_length": 45.0}
    return {name: row[name] for name in ("agent_name", "user_query", "response")} | features

"""A small lake after some operation: ingested logs, computed features, built training sets, rolled out versions.

Everything up to the training set is real; the entries of training, evaluation, registry and shadow are written to the
ledger without running them.
"""

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from features.batch.compute import compute_features
from lake.contracts.agent_interactions import AGENT_INTERACTIONS
from lake.ingest.pipeline import Ingester
from lake.lake import Lake, open_lake
from lake.tables.versions import TableVersion
from models.data.training_set import build_training_set
from settings import Settings

START = datetime(2026, 10, 26, tzinfo=UTC)
SECRET_USER, SECRET_TEXT = "user-4711-hidden", "my cat is called Mittens"
DIGESTS = {1: "3f9c2a71" + "0" * 56, 2: "b7d20e14" + "0" * 56}
AGENTS = ("auditor", "bruno", "jamie", "mary-kay")


def ticking(start: datetime) -> Callable[[], datetime]:
    """A clock that advances by a minute each time it is read."""
    now = [start]

    def clock() -> datetime:
        now[0] += timedelta(minutes=1)
        return now[0]

    return clock


def write_logs(folder: Path, first: int, days: int, rows: int = 60) -> Path:
    """One file a day; each has one line that is too slow and, every second day, one that is not JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    for day in range(first, first + days):
        lines = [json.dumps(_row(day, number, rows)) for number in range(rows)]
        lines += ["{not json"] * (day % 2)
        (folder / f"day-{day:02d}.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def _row(day: int, number: int, rows: int) -> dict[str, object]:
    return {
        "interaction_id": f"i-{day}-{number}",
        "timestamp": (START + timedelta(days=day, minutes=number * 1440 / rows)).isoformat(),
        "agent_name": AGENTS[number % 4],
        "user_id": SECRET_USER if number % 7 == 0 else f"user-{number % 11}",
        "user_query": SECRET_TEXT if number % 5 == 0 else f"question {number}",
        "response": f"answer {number}",
        "latency_ms": 45_000 if number == 3 else 900 + number,
        "tokens_used": 12,
        "error": False,
        "feedback": (1, 0, None)[number % 3],
        "model_version": "base",
        "cluster": "studio",
    }


def empty_lake(settings: Settings, start: datetime = START + timedelta(days=20)) -> Lake:
    return open_lake(settings, clock=ticking(start))


def ingest(lake: Lake, folder: Path) -> TableVersion:
    Ingester(lake, AGENT_INTERACTIONS, "agents").ingest_folder(folder)
    version = lake.tables.current(AGENT_INTERACTIONS)
    assert version is not None
    return version


def build_and_record_training(lake: Lake, interactions: TableVersion, version: int, *, baseline: str = "base") -> None:
    """Compute features and build a training set; then record the entries of training, evaluation and registry."""
    cut = START + timedelta(days=18 + version)
    features = compute_features(lake, interactions, cut)
    training_set = build_training_set(
        lake,
        model="agents",
        interactions=interactions,
        feedback=None,
        user_features=features[0],
        agent_features=features[1],
        infrastructure_features=next(iter(features[2:]), None),
        cut=cut,
    )
    record_training(lake, version, [*training_set.inputs, training_set.table], baseline=baseline)


def record_training(
    lake: Lake, version: int, tables: Sequence[TableVersion], *, baseline: str = "base", registered: bool = True
) -> None:
    """Append the entries that training, evaluation and registry would write."""
    key, digest, chain = f"{version:032x}", DIGESTS[version], "models/agents"
    cut = START + timedelta(days=18 + version)
    inputs = [str(table) for table in tables]
    trained: dict[str, object] = {"training_key": key, "training_set_id": f"set-{version}", "cut": cut.isoformat()}
    trained |= {"adapter_digest": digest, "path": f"ml/adapters/{key}", "steps": 40, "train_loss": 1.4821}
    cause = {"trigger": "volume", "reason": "12,000 new interactions.", "by": "", "decision": "until:x", "request": 1}
    trained |= {"inputs": inputs, "base_digest": "c0ffee00" + "0" * 56, "cause": cause}
    lake.ledger.append(chain, "trained", f"trained:{key}", trained)
    lake.ledger.append(chain, "judged", f"judged:{key}:{baseline}:0", _judged(key, baseline))
    if not registered:
        reason = {
            "training_key": key,
            "judgement": "not_shown_better",
            "baseline": baseline,
            "reason": "not shown better",
        }
        lake.ledger.append(chain, "not_registered", f"not_registered:{key}:{baseline}", reason)
        return
    fields: dict[str, object] = {
        "version": version,
        "digest": digest,
        "adapter_name": f"agents@{digest[:8]}",
        "manifest": "0" * 64,
    }
    fields |= {"path": f"ml/models/agents/v{version}", "training_key": key, "cut": cut.isoformat()}
    fields |= {"inputs": inputs, "baseline": baseline, "judgement": "better"}
    lake.ledger.append(chain, "registered", f"registered:{key}", fields)


def _judged(key: str, baseline: str) -> dict[str, object]:
    def difference(name: str, middle: float, half: float) -> dict[str, object]:
        scores = {"candidate": 2.1 + middle, "baseline": 2.1, "difference": middle}
        return {"slice": name, "rows": 100, "users": 11, **scores, "low": middle - half, "high": middle + half}

    overall = difference("all", -0.312, 0.051)
    agents = [difference(name, -0.312 + 0.1 * index, 0.12) for index, name in enumerate(AGENTS)]
    agents[2] |= {"low": "-Infinity", "high": "Infinity"}
    fields = {"training_key": key, "judgement": "better", "baseline": baseline, "overall": overall, "agents": agents}
    scores = {name: overall[name] for name in ("difference", "low", "high", "rows", "users")}
    return fields | scores | {"confidence": 0.95, "path": f"ml/evaluations/agents/{key}.parquet"}


def roll_out(lake: Lake, version: int, outcome: str = "promoted", *, baseline: str = "base") -> None:
    key = f"rollout:agents@v{version}:{baseline}"
    lake.ledger.append("models/agents", "rollout_opened", key, {"version": version, "baseline": baseline})
    reason = (
        "No more bad events than the baseline on 120 requests. With no live serving configured the rollout ends here."
    )
    payload = {"version": version, "baseline": baseline, "reason": reason}
    lake.ledger.append("models/agents", outcome, f"{key}:closed", payload)

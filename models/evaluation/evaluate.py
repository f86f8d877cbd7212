"""Evaluate a candidate against the model in production on the same held-out rows.

Both models score the accepted answers of the training set's test split: response tokens only, rows of weight above 0.
The difference is in nats per response token, with an interval clustered by user (``models.evaluation.statistics``). A
candidate is BETTER only if the overall interval is entirely below zero and no agent's interval is entirely above it.
The overall interval has its own level; the agents' intervals share one error, so more agents do not cause more false
alarms.
"""

import hashlib
import io
import json
import logging
import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from lake.lake import Lake
from models.data.held_out import held_out_sample
from models.evaluation.pair import open_model_pair
from models.evaluation.statistics import PairedScores, paired_interval, simultaneous_level
from models.llm.code_version import JUDGING_CODE, code_digest
from models.registry import kinds
from models.serialize import from_plain, to_plain
from models.spec import ModelSpec, TrainingProfile
from models.types import Evaluation, Judgement, ModelVersion, ScoreDifference, TrainedAdapter, baseline_name

log = logging.getLogger("fuelline.evaluation")


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationRule:
    """When a candidate is shown better: a launch-plan input."""

    confidence: float = 0.95
    """Two-sided level of the overall interval, and of all agents' intervals together. A candidate that is not better
    than its baseline passes in at most (1 - confidence) / 2 of all evaluations."""
    min_rows: int = 30
    """Least number of held-out rows; with fewer there is no result."""
    min_users: int = 10
    """Least number of users, the independent units; with fewer there is no result."""
    resamples: int = 10_000
    """Of the bootstrap."""
    seed: int = 0
    """Seed of the bootstrap: the same scores give the same interval."""

    def __post_init__(self) -> None:
        if not 0.5 <= self.confidence < 1:
            raise ValueError(f"confidence must be at least 0.5 and below 1, not {self.confidence}")
        if self.min_rows < 1 or self.min_users < 2 or self.resamples < 100:
            raise ValueError(f"min_rows must be at least 1, min_users 2 and resamples 100, but the rule is {self}")


def evaluate(
    lake: Lake,
    adapter: TrainedAdapter,
    spec: ModelSpec,
    profile: TrainingProfile,
    baseline: ModelVersion | None,
    rule: EvaluationRule | None = None,
) -> Evaluation:
    """Evaluate a trained adapter against a version, or against the base model where ``baseline`` is None.

    The ledger keeps the first result for the same inputs, and a repeated call returns it. Raises as
    ``open_model_pair``.
    """
    rule = rule or EvaluationRule()
    chain, key = kinds.model_chain(adapter.model), _key(adapter, profile, baseline, rule)
    if known := lake.ledger.find(chain, key):
        return _evaluation(adapter, known.payload)
    rows = held_out_sample(lake, adapter.training_set, profile.eval_rows)
    agents = np.array(rows["agent_name"].to_pylist(), dtype=str)
    scores = PairedScores(candidate=np.zeros(0), baseline=np.zeros(0), tokens=np.zeros(0), users=np.zeros(0, dtype=str))
    if rows.num_rows:
        log.info("scoring %d held-out rows under both models", rows.num_rows)
        with open_model_pair(lake, adapter, baseline, spec, profile) as pair:
            scores = pair.scores(rows)
    path = f"ml/evaluations/{adapter.model}/{key.removeprefix('judged:').replace(':', '/')}.parquet"
    lake.store.write(path, _parquet(rows, scores))
    overall, slices, judgement = judge(scores, agents, rule)
    log.info("evaluated: %s against %s on %d rows", judgement.value, baseline_name(baseline), overall.rows)
    plain = to_plain(overall)
    payload = {
        "training_key": adapter.training_key,
        "judgement": judgement.value,
        "baseline": baseline_name(baseline),
        **{name: plain[name] for name in ("difference", "low", "high", "rows", "users")},
        "overall": plain,
        "agents": [to_plain(agent) for agent in slices],
        "confidence": rule.confidence,
        "path": path,
    }
    return _evaluation(adapter, lake.ledger.append(chain, kinds.JUDGED, key, payload).payload)


def judge(
    scores: PairedScores, agents: np.ndarray, rule: EvaluationRule
) -> tuple[ScoreDifference, list[ScoreDifference], Judgement]:
    """The overall difference, that of each agent by name, and the judgement; ``agents`` are those of each row."""
    if not len(scores):
        unbounded = {"low": -math.inf, "high": math.inf}
        none = ScoreDifference(slice="all", rows=0, users=0, candidate=0.0, baseline=0.0, difference=0.0, **unbounded)
        return none, [], Judgement.TOO_LITTLE_DATA
    names = sorted(set(agents.tolist()))
    level = simultaneous_level(rule.confidence, len(names))
    overall = _difference("all", scores, rule.confidence, rule)
    slices = [_difference(name, scores.where(agents == name), level, rule) for name in names]
    return overall, slices, _judgement(overall, slices, rule)


def read_scores(lake: Lake, evaluation: Evaluation) -> pa.Table:
    """Scores by row: interaction_id, agent_name, user, tokens, candidate_nll, baseline_nll (nats, summed).

    ``user`` numbers the users of this file in order of appearance; it is not derived from an id.
    """
    import pyarrow.parquet as pq

    return pq.read_table(pa.BufferReader(lake.store.read(evaluation.path)))


def _difference(name: str, scores: PairedScores, confidence: float, rule: EvaluationRule) -> ScoreDifference:
    interval = paired_interval(scores, confidence=confidence, resamples=rule.resamples, seed=rule.seed)
    total = float(scores.tokens.sum())
    return ScoreDifference(
        slice=name,
        candidate=float(scores.candidate.sum()) / total,
        baseline=float(scores.baseline.sum()) / total,
        **asdict(interval),
    )


def _judgement(overall: ScoreDifference, agents: list[ScoreDifference], rule: EvaluationRule) -> Judgement:
    if overall.rows < rule.min_rows or overall.users < rule.min_users:
        return Judgement.TOO_LITTLE_DATA
    if overall.low > 0 or any(agent.low > 0 for agent in agents):
        return Judgement.WORSE
    return Judgement.BETTER if overall.high < 0 else Judgement.NOT_SHOWN_BETTER


def _key(adapter: TrainedAdapter, profile: TrainingProfile, baseline: ModelVersion | None, rule: EvaluationRule) -> str:
    """The entry's key: everything that changes the judgement and is not in the training key."""
    parts = [asdict(rule), profile.eval_rows, profile.max_tokens, code_digest(*JUDGING_CODE)]
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]
    return f"judged:{adapter.training_key}:{baseline_name(baseline)}:{digest}"


def _parquet(rows: pa.Table, scores: PairedScores) -> bytes:
    import pyarrow.parquet as pq

    codes = {user: code for code, user in enumerate(dict.fromkeys(scores.users.tolist()))}
    table = pa.table(
        {
            "interaction_id": rows["interaction_id"],
            "agent_name": rows["agent_name"],
            "user": pa.array([codes[user] for user in scores.users.tolist()], pa.int32()),
            "tokens": pa.array(scores.tokens.astype(np.int64)),
            "candidate_nll": pa.array(scores.candidate),
            "baseline_nll": pa.array(scores.baseline),
        }
    )
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


def _evaluation(adapter: TrainedAdapter, payload: dict[str, Any]) -> Evaluation:
    return Evaluation(
        model=adapter.model,
        adapter=adapter,
        baseline=payload["baseline"],
        judgement=Judgement(payload["judgement"]),
        overall=from_plain(ScoreDifference, payload["overall"]),
        agents=[from_plain(ScoreDifference, agent) for agent in payload["agents"]],
        path=payload["path"],
    )

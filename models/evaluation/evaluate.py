"""Is the candidate shown better than the model in production? On the same held-out rows, and only then.

Both models score the accepted answers of the training set's test split: response tokens only, rows of weight above 0.
The difference is in nats a response token with an interval clustered by user (``models.evaluation.statistics``). A
candidate is BETTER only if the overall interval lies wholly below zero and no agent's interval lies wholly above it.
The overall interval holds its level by itself; the agents' intervals share one error, so more agents do not mean more
false alarms.
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
from models.evaluation.pair import ModelPair, open_model_pair, prompts_and_answers
from models.evaluation.statistics import Interval, PairedScores, paired_interval, simultaneous_level
from models.llm.code_version import JUDGING_CODE, code_digest
from models.registry import kinds
from models.serialize import from_plain, to_plain
from models.spec import ModelSpec, TrainingProfile
from models.types import Evaluation, Judgement, ModelVersion, ScoreDifference, TrainedAdapter, baseline_name

log = logging.getLogger("fuelline.evaluation")


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationRule:
    """What it takes to be shown better: a launch-plan input."""

    confidence: float = 0.95
    """Two-sided level of the overall interval, and of the agents' intervals together. A candidate no better than its
    baseline passes in at most (1 - confidence) / 2 of all evaluations."""
    min_rows: int = 30
    """Held-out rows below which nothing is judged."""
    min_users: int = 10
    """Users below which nothing is judged: they are the independent units."""
    resamples: int = 10_000
    seed: int = 0
    """Of the bootstrap: the same scores give the same interval."""

    def __post_init__(self) -> None:
        if not 0.5 <= self.confidence < 1:
            raise ValueError(f"confidence must be at least 0.5 and below 1, not {self.confidence}")
        if self.min_rows < 1 or self.min_users < 2 or self.resamples < 100:
            raise ValueError("min_rows must be at least 1, min_users 2 and resamples 100")


def evaluate(
    lake: Lake,
    adapter: TrainedAdapter,
    spec: ModelSpec,
    profile: TrainingProfile,
    baseline: ModelVersion | None,
    rule: EvaluationRule | None = None,
) -> Evaluation:
    """Judge a trained adapter against a version, or against the base model where ``baseline`` is None.

    The first result for the same inputs stands: asked again, it is read from the ledger.

    Raises:
        BaseModelError: the base is not there, or one of the two was trained on another base.
        TamperedArtifact: an adapter's weights are not those recorded.
    """
    rule = rule or EvaluationRule()
    where, key = kinds.model_chain(adapter.model), _key(adapter, profile, baseline, rule)
    if known := lake.ledger.find(where, key):
        return _recorded(adapter, known.payload)
    rows = held_out_sample(lake, adapter.training_set, profile.eval_rows)
    agents = np.array(rows["agent_name"].to_pylist(), dtype=str)
    scores = _no_scores()
    if rows.num_rows:
        log.info("scoring %d held-out rows under both models", rows.num_rows)
        with open_model_pair(lake, adapter, baseline, spec, profile) as pair:
            scores = paired_scores(pair, rows, profile.max_tokens)
    path = f"ml/evaluations/{adapter.model}/{key.removeprefix('judged:').replace(':', '/')}.parquet"
    lake.store.write(path, _parquet(rows, scores))
    overall, slices, judgement = judge(scores, agents, rule)
    evaluation = Evaluation(
        model=adapter.model,
        adapter=adapter,
        baseline=baseline_name(baseline),
        judgement=judgement,
        overall=overall,
        agents=slices,
        path=path,
    )
    log.info("judged %s against %s on %d rows", judgement.value, evaluation.baseline, overall.rows)
    entry = lake.ledger.append(where, kinds.JUDGED, key, _payload(evaluation, rule))
    return _recorded(adapter, entry.payload)


def judge(
    scores: PairedScores, agents: np.ndarray, rule: EvaluationRule
) -> tuple[ScoreDifference, list[ScoreDifference], Judgement]:
    """The overall difference, each agent's in order of name, and what they amount to.

    Args:
        scores: one element a row.
        agents: the agent of each row, str [rows].
        rule: the levels and the least amount of data.
    """
    if not len(scores):
        return _nothing(), [], Judgement.TOO_LITTLE_DATA
    names = sorted(set(agents.tolist()))
    level = simultaneous_level(rule.confidence, len(names))
    overall = _difference("all", scores, rule.confidence, rule)
    slices = [_difference(name, scores.where(agents == name), level, rule) for name in names]
    return overall, slices, _judgement(overall, slices, rule)


def read_scores(lake: Lake, evaluation: Evaluation) -> pa.Table:
    """Per-row scores: interaction_id, agent_name, user, tokens, candidate_nll, baseline_nll (nats, summed).

    ``user`` counts the users of this file in order of appearance: it is neither an id nor made from one.
    """
    import pyarrow.parquet as pq

    return pq.read_table(pa.BufferReader(lake.store.read(evaluation.path)))


def paired_scores(pair: ModelPair, rows: pa.Table, max_tokens: int) -> PairedScores:
    """Score the rows' accepted answers under both models, response tokens only."""
    from models.llm.likelihood import examples_nll
    from models.llm.tokens import tokenize

    messages, answers = prompts_and_answers(rows)
    examples = tokenize(messages, answers, pair.tokenizer, max_tokens)
    with pair.candidate() as model:
        candidate = examples_nll(model, examples, pair.tokenizer)
    log.info("scored %d rows under the candidate", len(examples))
    with pair.baseline() as model:
        baseline = examples_nll(model, examples, pair.tokenizer)
    log.info("scored %d rows under the baseline", len(examples))
    return PairedScores(
        candidate=candidate.nll_sum,
        baseline=baseline.nll_sum,
        tokens=candidate.tokens.astype(np.float64),
        users=np.array(rows["user_id"].to_pylist(), dtype=str),
    )


def _no_scores() -> PairedScores:
    none = np.zeros(0)
    return PairedScores(candidate=none, baseline=none, tokens=none, users=np.zeros(0, dtype=str))


def _nothing() -> ScoreDifference:
    return ScoreDifference(
        slice="all", rows=0, users=0, candidate=0.0, baseline=0.0, difference=0.0, low=-math.inf, high=math.inf
    )


def _difference(name: str, scores: PairedScores, confidence: float, rule: EvaluationRule) -> ScoreDifference:
    found: Interval = paired_interval(scores, confidence=confidence, resamples=rule.resamples, seed=rule.seed)
    total = float(scores.tokens.sum())
    return ScoreDifference(
        slice=name,
        candidate=float(scores.candidate.sum()) / total,
        baseline=float(scores.baseline.sum()) / total,
        **asdict(found),
    )


def _judgement(overall: ScoreDifference, agents: list[ScoreDifference], rule: EvaluationRule) -> Judgement:
    if overall.rows < rule.min_rows or overall.users < rule.min_users:
        return Judgement.TOO_LITTLE_DATA
    if overall.low > 0 or any(agent.low > 0 for agent in agents):
        return Judgement.WORSE
    return Judgement.BETTER if overall.high < 0 else Judgement.NOT_SHOWN_BETTER


def _key(adapter: TrainedAdapter, profile: TrainingProfile, baseline: ModelVersion | None, rule: EvaluationRule) -> str:
    """Everything that changes the judgement and is not in the training key already."""
    parts = [asdict(rule), profile.eval_rows, profile.max_tokens, code_digest(*JUDGING_CODE)]
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]
    return kinds.judged_key(adapter.training_key, baseline_name(baseline), digest)


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


def _payload(evaluation: Evaluation, rule: EvaluationRule) -> dict[str, Any]:
    overall = to_plain(evaluation.overall)
    return {
        "training_key": evaluation.adapter.training_key,
        "judgement": evaluation.judgement.value,
        "baseline": evaluation.baseline,
        **{name: overall[name] for name in ("difference", "low", "high", "rows", "users")},
        "overall": overall,
        "agents": [to_plain(agent) for agent in evaluation.agents],
        "confidence": rule.confidence,
        "path": evaluation.path,
    }


def _recorded(adapter: TrainedAdapter, payload: dict[str, Any]) -> Evaluation:
    return Evaluation(
        model=adapter.model,
        adapter=adapter,
        baseline=payload["baseline"],
        judgement=Judgement(payload["judgement"]),
        overall=from_plain(ScoreDifference, payload["overall"]),
        agents=[from_plain(ScoreDifference, agent) for agent in payload["agents"]],
        path=payload["path"],
    )

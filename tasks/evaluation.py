"""Evaluation: the candidate against the model in production, on the same held-out rows."""

from typing import NamedTuple

from models.evaluation.evaluate import EvaluationRule
from models.llm.code_version import JUDGING_CODE
from models.registry.training_lease import Claim
from models.retraining.pin import Pinned
from models.spec import ModelSpec, TrainingProfile
from models.types import Evaluation, Outcome, TrainedAdapter
from tasks.environments import cached, cpu, single_gpu
from tasks.runtime import publish, task_lake


class Judged(NamedTuple):
    """The evaluation (none if nothing was new), and its judgement as an output that a condition can compare."""

    evaluations: list[Evaluation]
    judgement: str


@single_gpu(cache=cached(*JUDGING_CODE, ignored=("claim",)))
def evaluate_candidate(
    pinned: Pinned,
    adapter: TrainedAdapter,
    spec: ModelSpec,
    profile: TrainingProfile,
    rule: EvaluationRule,
    claim: Claim,
) -> Judged:
    """Score both on the same rows, with a paired interval clustered by user, overall and per agent."""
    from models.evaluation.evaluate import evaluate
    from models.registry.registry import find_baseline
    from models.registry.training_lease import fenced, holding_lease
    from reports.decks.training import evaluation_deck

    lake = fenced(task_lake(), claim)
    with holding_lease(lake, claim):
        result = evaluate(lake, adapter, spec, profile, find_baseline(lake.ledger, pinned.baseline), rule)
    publish(60, "Evaluation", *evaluation_deck(result))
    return Judged([result], result.judgement.value)


@cpu(enable_deck=False)
def judge_nothing() -> Judged:
    """The result where nothing is new: no evaluation."""
    return Judged([], Outcome.NOTHING_NEW.value)

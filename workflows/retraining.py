"""The retraining graph: compute, pin, gate, select, train, judge, register, shadow.

A candidate that was not shown better ends at the judgement; one that was goes on to the rollout. Where this very
retraining has ended before, the graph says so and does nothing. The two conditions stand one after the other, because
in a local execution flytekit runs every branch of a condition that stands inside a branch.
"""

from flytekit import conditional, workflow

from lake.quality import QualityGate
from models.evaluation import EvaluationRule
from models.pinning import Pinned
from models.spec import ModelSpec, TrainingProfile, laptop
from models.types import Evaluation, Judgement, Outcome, Verdict
from serving.harm import ShadowRule
from tasks.evaluation import Judged, evaluate_candidate, judge_nothing
from tasks.failure import record_failed_retraining
from tasks.features import refresh_features
from tasks.quality import check_quality
from tasks.registry import decline_candidate, mirror_training, register_version, report_nothing_new
from tasks.rollout import close_retraining, shadow_rollout
from tasks.training import build_training_set, pin_inputs, train_adapter


@workflow
def train_and_judge(
    pinned: Pinned,
    spec: ModelSpec,
    profile: TrainingProfile,
    source: str,
    gate: QualityGate,
    rule: EvaluationRule,
) -> Judged:
    """From pinned inputs to a judgement."""
    quality, _ = check_quality(pinned=pinned, source=source, gate=gate)
    training_set = build_training_set(pinned=pinned, spec=spec)
    quality >> training_set
    adapter = train_adapter(training_set=training_set, spec=spec, profile=profile)
    evaluations, judgement = evaluate_candidate(pinned=pinned, adapter=adapter, spec=spec, profile=profile, rule=rule)
    mirror_training(evaluations=evaluations, spec=spec, profile=profile)
    return Judged(evaluations, judgement)


@workflow
def roll_out(
    pinned: Pinned, evaluations: list[Evaluation], spec: ModelSpec, profile: TrainingProfile, rule: ShadowRule
) -> Verdict:
    """Register the candidate and put it through its shadow rollout."""
    version = register_version(evaluations=evaluations, spec=spec, profile=profile)
    verdict = shadow_rollout(pinned=pinned, version=version, spec=spec, profile=profile, rule=rule)
    return close_retraining(pinned=pinned, verdict=verdict)


@workflow(on_failure=record_failed_retraining)
def retraining(
    spec: ModelSpec = ModelSpec(),
    profile: TrainingProfile = laptop(),
    source: str = "agents",
    reason: str = "by hand",
    gate: QualityGate = QualityGate(),
    evaluation: EvaluationRule = EvaluationRule(),
    shadow: ShadowRule = ShadowRule(),
) -> Verdict:
    """Retrain a model on what is in the lake now, and let the evidence decide what becomes of it.

    Args:
        spec: which model.
        profile: sizes and hyperparameters.
        source: whose quality is checked.
        reason: what caused it; goes into the ledger and the manifest.
        gate: quality below which training is warned of or refused.
        evaluation: what it takes to be shown better.
        shadow: what counts as harm.
    """
    computed = refresh_features()
    pinned, based, work = pin_inputs(spec=spec, profile=profile, evaluation=evaluation, shadow=shadow, reason=reason)
    computed >> pinned
    evaluations, judgement = (
        conditional("anything new?")
        .if_(work.is_true())
        .then(train_and_judge(pinned=pinned, spec=based, profile=profile, source=source, gate=gate, rule=evaluation))
        .else_()
        .then(judge_nothing())
    )
    return (
        conditional("shown better?")
        .if_(judgement == Judgement.BETTER.value)
        .then(roll_out(pinned=pinned, evaluations=evaluations, spec=based, profile=profile, rule=shadow))
        .elif_(judgement == Outcome.NOTHING_NEW.value)
        .then(report_nothing_new(pinned=pinned))
        .else_()
        .then(decline_candidate(pinned=pinned, evaluations=evaluations))
    )

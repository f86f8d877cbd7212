"""The retraining graph: pin, gate, select, train, judge, register, shadow.

A candidate that was not shown better ends at the judgement; one that was goes on to the rollout. Where this very
retraining has ended before, the graph says so and does nothing.
"""

from flytekit import conditional, workflow

from lake.quality import QualityGate
from models.evaluation import EvaluationRule
from models.pinning import Pinned
from models.spec import ModelSpec, TrainingProfile, laptop
from models.types import Evaluation, Judgement, Verdict
from serving.harm import ShadowRule
from tasks.evaluation import evaluate_candidate
from tasks.failure import record_failed_retraining
from tasks.quality import check_quality
from tasks.registry import decline_candidate, mirror_training, register_version, report_nothing_new
from tasks.rollout import close_retraining, shadow_rollout
from tasks.training import build_training_set, pin_inputs, train_adapter


@workflow
def roll_out(
    pinned: Pinned, evaluation: Evaluation, spec: ModelSpec, profile: TrainingProfile, rule: ShadowRule
) -> Verdict:
    """Register the candidate and put it through its shadow rollout."""
    version = register_version(evaluation=evaluation, spec=spec, profile=profile)
    verdict = shadow_rollout(pinned=pinned, version=version, spec=spec, profile=profile, rule=rule)
    return close_retraining(pinned=pinned, verdict=verdict)


@workflow
def train_and_judge(
    pinned: Pinned,
    spec: ModelSpec,
    profile: TrainingProfile,
    source: str,
    gate: QualityGate,
    evaluation: EvaluationRule,
    shadow: ShadowRule,
) -> Verdict:
    """From pinned inputs to a verdict."""
    quality, _ = check_quality(source=source, table=pinned.interactions, gate=gate)
    training_set = build_training_set(pinned=pinned, spec=spec)
    quality >> training_set
    adapter = train_adapter(training_set=training_set, spec=spec, profile=profile)
    judged, judgement = evaluate_candidate(pinned=pinned, adapter=adapter, spec=spec, profile=profile, rule=evaluation)
    mirror_training(evaluation=judged, spec=spec, profile=profile)
    return (
        conditional("shown better?")
        .if_(judgement == Judgement.BETTER.value)
        .then(roll_out(pinned=pinned, evaluation=judged, spec=spec, profile=profile, rule=shadow))
        .else_()
        .then(decline_candidate(pinned=pinned, evaluation=judged))
    )


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
    pinned, based, work = pin_inputs(spec=spec, profile=profile, reason=reason)
    return (
        conditional("anything new?")
        .if_(work.is_true())
        .then(
            train_and_judge(
                pinned=pinned,
                spec=based,
                profile=profile,
                source=source,
                gate=gate,
                evaluation=evaluation,
                shadow=shadow,
            )
        )
        .else_()
        .then(report_nothing_new(pinned=pinned))
    )

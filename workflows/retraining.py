"""The retraining workflow: compute features, pin the inputs, check quality, build the training set, train, evaluate,
register, open the rollout.

A candidate that is not shown better ends at the evaluation; one that is continues to the rollout. Where the same
retraining has ended before, the workflow reports that and does nothing. The two conditions are in sequence and not
nested, because in a local execution flytekit runs every branch of a nested condition.
"""

from flytekit import conditional, workflow

from lake.quality.score import QualityGate
from models.evaluation.evaluate import EvaluationRule
from models.registry.training_lease import Claim
from models.retraining.pin import Pinned
from models.spec import ModelSpec, TrainingProfile, laptop
from models.types import Cause, Evaluation, Judgement, Verdict
from serving.policy import CanaryRule
from serving.statistics.shadow_test import ShadowRule
from tasks import failure
from tasks.evaluation import Judged, evaluate_candidate, judge_nothing
from tasks.features import refresh_features
from tasks.quality import check_quality
from tasks.registry import close_without_rollout, mirror_training, register_version
from tasks.rollout import begin_rollout
from tasks.training import build_training_set, pin_inputs, train_adapter


@workflow
def train_and_judge(
    pinned: Pinned,
    spec: ModelSpec,
    profile: TrainingProfile,
    source: str,
    gate: QualityGate,
    rule: EvaluationRule,
    claim: Claim,
) -> Judged:
    """Train on the pinned inputs and evaluate the candidate."""
    quality, _ = check_quality(pinned=pinned, source=source, gate=gate)
    training_set = build_training_set(pinned=pinned, spec=spec, claim=claim)
    quality >> training_set
    adapter = train_adapter(training_set=training_set, spec=spec, profile=profile, pinned=pinned, claim=claim)
    evaluations, judgement = evaluate_candidate(
        pinned=pinned, adapter=adapter, spec=spec, profile=profile, rule=rule, claim=claim
    )
    mirror_training(evaluations=evaluations, spec=spec, profile=profile)
    return Judged(evaluations, judgement)


@workflow
def roll_out(
    pinned: Pinned,
    evaluations: list[Evaluation],
    spec: ModelSpec,
    profile: TrainingProfile,
    rule: ShadowRule,
    canary: CanaryRule,
    claim: Claim,
) -> Verdict:
    """Register the candidate and open its rollout, which ``rollout_step`` advances."""
    version = register_version(pinned=pinned, evaluations=evaluations, spec=spec, profile=profile, claim=claim)
    return begin_rollout(pinned=pinned, version=version, profile=profile, rule=rule, canary=canary, claim=claim)


@workflow(on_failure=failure.record_failed_retraining)
def retraining(
    spec: ModelSpec = ModelSpec(),
    profile: TrainingProfile = laptop(),
    source: str = "",
    cause: Cause = Cause(),
    gate: QualityGate = QualityGate(),
    evaluation: EvaluationRule = EvaluationRule(),
    shadow: ShadowRule = ShadowRule(),
    canary: CanaryRule = CanaryRule(),
) -> Verdict:
    """Retrain a model on the data in the lake now; the evidence decides whether it is rolled out.

    Args:
        spec: which model.
        profile: sizes and hyperparameters.
        source: whose quality is checked; empty: whatever brought the rows.
        cause: what started it; recorded in the ledger, the manifest and the lineage.
        gate: quality scores below which training is warned about or refused.
        evaluation: when a candidate counts as shown better.
        shadow: what counts as harm before any user gets answers of the candidate.
        canary: how traffic moves to the candidate where a gateway serves users, and what promotes it or rolls it back.
    """
    computed = refresh_features()
    pinned, based, claim, work = pin_inputs(
        spec=spec, profile=profile, evaluation=evaluation, shadow=shadow, cause=cause
    )
    computed >> pinned
    evaluations, judgement = (
        conditional("any work?")
        .if_(work.is_true())
        .then(
            train_and_judge(
                pinned=pinned, spec=based, profile=profile, source=source, gate=gate, rule=evaluation, claim=claim
            )
        )
        .else_()
        .then(judge_nothing())
    )
    return (
        conditional("shown better?")
        .if_(judgement == Judgement.BETTER.value)
        .then(
            roll_out(
                pinned=pinned,
                evaluations=evaluations,
                spec=based,
                profile=profile,
                rule=shadow,
                canary=canary,
                claim=claim,
            )
        )
        .else_()
        .then(close_without_rollout(pinned=pinned, evaluations=evaluations, cause=cause, claim=claim))
    )

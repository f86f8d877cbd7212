"""The failure handler of a retraining: an entry in the ledger."""

from typing import Optional

from flytekit.types.error.error import FlyteError

from lake.quality.score import QualityGate
from models.evaluation.evaluate import EvaluationRule
from models.spec import ModelSpec, TrainingProfile
from models.types import Cause
from serving.policy import CanaryRule
from serving.statistics.shadow_test import ShadowRule
from tasks.environments import cpu
from tasks.runtime import execution, task_lake


@cpu(enable_deck=False)
def record_failed_retraining(
    spec: ModelSpec,
    profile: TrainingProfile,
    source: str,
    cause: Cause,
    gate: QualityGate,
    evaluation: EvaluationRule,
    shadow: ShadowRule,
    canary: CanaryRule,
    err: Optional[FlyteError] = None,  # noqa: UP045 - flytekit reads Optional only
) -> None:
    """Record the failure under this run's name. A handler must have every input of its workflow."""
    from models.retraining.outcome import record_failure
    from tasks.execution.ends import end_of_this_run

    record_failure(task_lake(), spec.name, cause, end_of_this_run(), execution=execution())

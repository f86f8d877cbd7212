"""The triggers: each checks, decides, and starts the one retraining workflow; none waits for it.

A check that runs late decides for all scheduled times that were missed. The ledger has every decision, whether or not
it started a training.
"""

from datetime import datetime
from typing import Any

from flytekit import workflow

from models.spec import ModelSpec, TrainingProfile, laptop
from models.triggers.decisions import Decision
from models.triggers.rules import DriftRule, ErrorRateRule, FeedbackRule, RetryBackoff, Rule, ScheduleRule, VolumeRule
from tasks.triggers import (
    decide_by_hand,
    decide_on_drift,
    decide_on_error_rate,
    decide_on_feedback,
    decide_on_schedule,
    decide_on_volume,
    start_retraining,
)

DESCRIPTION = """{summary}

Args:
    kickoff: the scheduled time of this check (UTC).
    rule: {meaning}.
    spec: which model.
    profile: sizes and hyperparameters of the retraining.
    source: whose quality the retraining checks; empty: whatever brought the rows.
    patience: how failed trainings are retried.
    every_minutes: the time to the next check.
    schedule: names the chain of its windows.
"""


def _trigger(decide: Any, default: Rule, summary: str, meaning: str) -> Any:
    """The workflow of one trigger, ``on_volume`` for the task ``decide_on_volume``, with this default rule.

    Flyte takes a workflow's name, inputs and descriptions from a function, so one is given those of the trigger.
    """
    name = decide.name.rpartition(".decide_")[2]

    def check(
        kickoff: datetime,
        rule: Any = default,
        spec: ModelSpec = ModelSpec(),
        profile: TrainingProfile = laptop(),
        source: str = "",
        patience: RetryBackoff = RetryBackoff(),
        every_minutes: int = 60,
        schedule: str = f"retrain_{name}",
    ) -> list[Decision]:
        model = {"spec": spec, "profile": profile, "source": source}
        when = {"kickoff": kickoff, "every_minutes": every_minutes, "schedule": schedule}
        decisions: list[Decision] = decide(rule=rule, patience=patience, **model, **when)
        start_retraining(decisions=decisions, **model)
        return decisions

    check.__name__ = check.__qualname__ = name
    check.__doc__ = DESCRIPTION.format(summary=summary, meaning=meaning)
    check.__annotations__["rule"] = type(default)
    return workflow(check)


on_schedule = _trigger(
    decide_on_schedule,
    ScheduleRule(),
    "Retrain when the last training and its data are old and anything is new.",
    "how old",
)
on_volume = _trigger(
    decide_on_volume, VolumeRule(), "Retrain when many interactions have landed since the last training.", "how many"
)
on_error_rate = _trigger(
    decide_on_error_rate,
    ErrorRateRule(),
    "Retrain when calls fail more often than at the last training.",
    "how much more often, and with which confidence",
)
on_drift = _trigger(
    decide_on_drift,
    DriftRule(),
    "Retrain when the distribution of a feature has moved away from the training set's.",
    "how far, and with which confidence",
)
on_feedback = _trigger(
    decide_on_feedback,
    FeedbackRule(),
    "Retrain when users are less satisfied than at the last training.",
    "how satisfied is enough, and with which confidence",
)


@workflow
def by_hand(
    reason: str,
    by: str,
    spec: ModelSpec = ModelSpec(),
    profile: TrainingProfile = laptop(),
    source: str = "",
    patience: RetryBackoff = RetryBackoff(),
) -> list[Decision]:
    """Retrain because a person requests it; a training that is running already covers the request.

    Args:
        reason: why; the model's history keeps it for ever, so leave personal data out of it.
        by: who; a role or a handle is enough, for the same reason.
        spec: which model.
        profile: sizes and hyperparameters.
        source: whose quality the retraining checks; empty: whatever brought the rows.
        patience: how failed trainings are retried.
    """
    decisions = decide_by_hand(reason=reason, by=by, spec=spec, profile=profile, source=source, patience=patience)
    start_retraining(decisions=decisions, spec=spec, profile=profile, source=source)
    return decisions

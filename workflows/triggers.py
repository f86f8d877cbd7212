"""The triggers: each looks, decides, and starts the one retraining graph; none waits for it.

A look that was started late looks for all that were missed. What it decided stands in the ledger, fired or not.
"""

from datetime import datetime

from flytekit import workflow

from models.spec import ModelSpec, TrainingProfile, laptop
from models.triggers.decisions import Decision
from models.triggers.rules import DriftRule, ErrorRateRule, FeedbackRule, Patience, ScheduleRule, VolumeRule
from tasks.triggers import (
    decide_by_hand,
    look_at_drift,
    look_at_error_rate,
    look_at_feedback,
    look_at_schedule,
    look_at_volume,
    start_retraining,
)


@workflow
def on_schedule(
    kickoff: datetime,
    rule: ScheduleRule = ScheduleRule(),
    spec: ModelSpec = ModelSpec(),
    profile: TrainingProfile = laptop(),
    source: str = "agents",
    patience: Patience = Patience(),
    every_minutes: int = 60,
    schedule: str = "retrain_on_schedule",
) -> list[Decision]:
    """Retrain when the last training and its data are old and anything is new.

    Args:
        kickoff: the scheduled time of this look (UTC).
        rule: how old.
        spec: which model.
        profile: sizes and hyperparameters of the retraining.
        source: whose quality the retraining checks.
        patience: how failed trainings are borne with.
        every_minutes: time to the next look.
        schedule: names the chain of its windows.
    """
    decisions = look_at_schedule(
        rule=rule,
        spec=spec,
        profile=profile,
        source=source,
        patience=patience,
        kickoff=kickoff,
        every_minutes=every_minutes,
        schedule=schedule,
    )
    start_retraining(decisions=decisions, spec=spec, profile=profile, source=source)
    return decisions


@workflow
def on_volume(
    kickoff: datetime,
    rule: VolumeRule = VolumeRule(),
    spec: ModelSpec = ModelSpec(),
    profile: TrainingProfile = laptop(),
    source: str = "agents",
    patience: Patience = Patience(),
    every_minutes: int = 60,
    schedule: str = "retrain_on_volume",
) -> list[Decision]:
    """Retrain when many interactions have landed since the last training.

    Inputs as in ``on_schedule``; ``rule`` says how many.
    """
    decisions = look_at_volume(
        rule=rule,
        spec=spec,
        profile=profile,
        source=source,
        patience=patience,
        kickoff=kickoff,
        every_minutes=every_minutes,
        schedule=schedule,
    )
    start_retraining(decisions=decisions, spec=spec, profile=profile, source=source)
    return decisions


@workflow
def on_error_rate(
    kickoff: datetime,
    rule: ErrorRateRule = ErrorRateRule(),
    spec: ModelSpec = ModelSpec(),
    profile: TrainingProfile = laptop(),
    source: str = "agents",
    patience: Patience = Patience(),
    every_minutes: int = 60,
    schedule: str = "retrain_on_error_rate",
) -> list[Decision]:
    """Retrain when calls fail more often than at the last training.

    Inputs as in ``on_schedule``; ``rule`` says how much more, and how sure to be.
    """
    decisions = look_at_error_rate(
        rule=rule,
        spec=spec,
        profile=profile,
        source=source,
        patience=patience,
        kickoff=kickoff,
        every_minutes=every_minutes,
        schedule=schedule,
    )
    start_retraining(decisions=decisions, spec=spec, profile=profile, source=source)
    return decisions


@workflow
def on_drift(
    kickoff: datetime,
    rule: DriftRule = DriftRule(),
    spec: ModelSpec = ModelSpec(),
    profile: TrainingProfile = laptop(),
    source: str = "agents",
    patience: Patience = Patience(),
    every_minutes: int = 60,
    schedule: str = "retrain_on_drift",
) -> list[Decision]:
    """Retrain when a feature's distribution has moved away from the training set's.

    Inputs as in ``on_schedule``; ``rule`` says how far, and how sure to be.
    """
    decisions = look_at_drift(
        rule=rule,
        spec=spec,
        profile=profile,
        source=source,
        patience=patience,
        kickoff=kickoff,
        every_minutes=every_minutes,
        schedule=schedule,
    )
    start_retraining(decisions=decisions, spec=spec, profile=profile, source=source)
    return decisions


@workflow
def on_feedback(
    kickoff: datetime,
    rule: FeedbackRule = FeedbackRule(),
    spec: ModelSpec = ModelSpec(),
    profile: TrainingProfile = laptop(),
    source: str = "agents",
    patience: Patience = Patience(),
    every_minutes: int = 60,
    schedule: str = "retrain_on_feedback",
) -> list[Decision]:
    """Retrain when users are less content than at the last training.

    Inputs as in ``on_schedule``; ``rule`` says how content is enough, and how sure to be.
    """
    decisions = look_at_feedback(
        rule=rule,
        spec=spec,
        profile=profile,
        source=source,
        patience=patience,
        kickoff=kickoff,
        every_minutes=every_minutes,
        schedule=schedule,
    )
    start_retraining(decisions=decisions, spec=spec, profile=profile, source=source)
    return decisions


@workflow
def by_hand(
    reason: str,
    by: str,
    spec: ModelSpec = ModelSpec(),
    profile: TrainingProfile = laptop(),
    source: str = "agents",
    patience: Patience = Patience(),
) -> list[Decision]:
    """Retrain because a person says so; what is under way already covers it.

    Args:
        reason: why; it stays in the model's history for ever, so keep people's data out of it.
        by: who; a role or a handle will do, for the same reason.
        spec: which model.
        profile: sizes and hyperparameters.
        source: whose quality the retraining checks.
        patience: how failed trainings are borne with.
    """
    decisions = decide_by_hand(reason=reason, by=by, spec=spec, profile=profile, source=source, patience=patience)
    start_retraining(decisions=decisions, spec=spec, profile=profile, source=source)
    return decisions

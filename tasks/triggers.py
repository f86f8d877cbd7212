"""The triggers: each look decides and writes down why; what is asked for is started, and nobody waits for it."""

from datetime import datetime, timedelta

from models.spec import ModelSpec, RetrainingInputs, TrainingProfile
from models.triggers.decisions import Decision
from models.triggers.rules import (
    DriftRule,
    ErrorRateRule,
    FeedbackRule,
    HandRule,
    Patience,
    Rule,
    ScheduleRule,
    VolumeRule,
)
from tasks.environments import cpu
from tasks.runtime import due, execution, lake, log, publish

RETRAINING = "retraining"
"""The launch plan that every trigger starts."""


@cpu
def look_at_schedule(
    rule: ScheduleRule,
    spec: ModelSpec,
    profile: TrainingProfile,
    source: str,
    patience: Patience,
    kickoff: datetime,
    every_minutes: int,
    schedule: str,
) -> list[Decision]:
    """Are the last training and its data old, and is anything new?"""
    inputs = RetrainingInputs(spec=spec, profile=profile, source=source)
    return _looked(rule, inputs, patience, kickoff, every_minutes, schedule)


@cpu
def look_at_volume(
    rule: VolumeRule,
    spec: ModelSpec,
    profile: TrainingProfile,
    source: str,
    patience: Patience,
    kickoff: datetime,
    every_minutes: int,
    schedule: str,
) -> list[Decision]:
    """Have many interactions landed since the last training? Reads snapshots' summaries alone."""
    inputs = RetrainingInputs(spec=spec, profile=profile, source=source)
    return _looked(rule, inputs, patience, kickoff, every_minutes, schedule)


@cpu
def look_at_error_rate(
    rule: ErrorRateRule,
    spec: ModelSpec,
    profile: TrainingProfile,
    source: str,
    patience: Patience,
    kickoff: datetime,
    every_minutes: int,
    schedule: str,
) -> list[Decision]:
    """Do calls fail more often than at the last training, and not by chance?"""
    inputs = RetrainingInputs(spec=spec, profile=profile, source=source)
    return _looked(rule, inputs, patience, kickoff, every_minutes, schedule)


@cpu
def look_at_drift(
    rule: DriftRule,
    spec: ModelSpec,
    profile: TrainingProfile,
    source: str,
    patience: Patience,
    kickoff: datetime,
    every_minutes: int,
    schedule: str,
) -> list[Decision]:
    """Has a feature's distribution moved away from the training set's? What features are due is computed first."""
    from features.batch.schedule import compute_due
    from lake.contracts.agent_interactions import AGENT_INTERACTIONS

    here = lake()
    if here.tables.current(AGENT_INTERACTIONS):
        compute_due(here)
    inputs = RetrainingInputs(spec=spec, profile=profile, source=source)
    return _looked(rule, inputs, patience, kickoff, every_minutes, schedule)


@cpu
def look_at_feedback(
    rule: FeedbackRule,
    spec: ModelSpec,
    profile: TrainingProfile,
    source: str,
    patience: Patience,
    kickoff: datetime,
    every_minutes: int,
    schedule: str,
) -> list[Decision]:
    """Are users less content than at the last training, and not by chance?"""
    inputs = RetrainingInputs(spec=spec, profile=profile, source=source)
    return _looked(rule, inputs, patience, kickoff, every_minutes, schedule)


@cpu
def decide_by_hand(
    reason: str, by: str, spec: ModelSpec, profile: TrainingProfile, source: str, patience: Patience
) -> list[Decision]:
    """A person's decision, written down like any other; covered where a training is under way."""
    from models.triggers.decisions import decide
    from models.triggers.history import LakeHistory

    here = lake()
    rule, now, hour = HandRule(reason=reason, by=by), here.ledger.clock(), timedelta(hours=1)
    decision = decide(
        here,
        LakeHistory(here),
        spec.name,
        rule,
        end=now,
        every=hour,
        patience=patience,
        key=f"run:{execution()}",  # this task may be tried again, at another time
        inputs=RetrainingInputs(spec=spec, profile=profile, source=source),
    )
    _show([decision], spec.name)
    return [decision]


@cpu(enable_deck=False)
def start_retraining(decisions: list[Decision], spec: ModelSpec, profile: TrainingProfile, source: str) -> list[str]:
    """Start the run of the model's open request, whoever made it, and return at once; where it can be seen.

    The run is given what the request was made with, and the inputs here only where it leaves that open. A start that
    failed is so made good by the next look, and a request whose run has ended without a word is given up.
    """
    from models.triggers.requests import give_up, inputs_of, to_start
    from tasks.execution.start import Phase, TurnedAway, phase, start

    here = lake()
    request = to_start(here, spec.name)
    if request is None or (now := phase(request.run)) is Phase.RUNNING:
        return []
    if now is not Phase.UNKNOWN:
        give_up(here, spec.name, request, f"Its run {request.run} has {now.value} and left no word of it.")
        return []
    asked = inputs_of(here, spec.name, request) or RetrainingInputs(spec=spec, profile=profile, source=source)
    inputs = {"spec": asked.spec, "profile": asked.profile, "source": asked.source, "cause": request.cause}
    try:
        started = start(RETRAINING, inputs, name=request.run)
    except TurnedAway as error:
        log.warning("%s: %s. The next look tries again.", request.run, error)
        return []
    log.info("%s %s: %s", "was started before" if started.already else "started", started.name, started.place)
    return [started.place]


def _looked(
    rule: Rule, inputs: RetrainingInputs, patience: Patience, kickoff: datetime, every_minutes: int, schedule: str
) -> list[Decision]:
    """Look once for all fires that are due: a late or doubled one finds the look taken."""
    from lake.windows import Window
    from models.triggers.decisions import decide
    from models.triggers.history import LakeHistory

    here, every, spec = lake(), timedelta(minutes=every_minutes), inputs.spec

    def look(window: Window) -> Decision:
        end = window.end.replace(minute=0, second=0, microsecond=0)
        history = LakeHistory(here, spec.agents)
        return decide(here, history, spec.name, rule, end=end, every=every, patience=patience, inputs=inputs)

    decisions = due(here, f"{schedule}-{spec.name}", look, kickoff=kickoff, every_minutes=every_minutes)
    _show(decisions, spec.name)
    return decisions


def _show(decisions: list[Decision], model: str) -> None:
    from reports.trigger_explanation import decision_parts

    for decision in decisions:
        log.info("%s: %s. %s", decision.trigger.replace("_", " "), decision.outcome.replace("_", " "), decision.reason)
    publish(15, "Decision", *decision_parts(lake(), model, decisions))

"""The triggers: each look decides and writes down why; what is asked for is started, and nobody waits for it."""

from datetime import datetime, timedelta

from models.spec import ModelSpec, TrainingProfile
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
from tasks.runtime import due, lake, log, publish

RETRAINING = "retraining"
"""The launch plan that every trigger starts."""


@cpu
def look_at_schedule(
    rule: ScheduleRule, spec: ModelSpec, patience: Patience, kickoff: datetime, every_minutes: int, schedule: str
) -> list[Decision]:
    """Is the last training old, and anything new?"""
    return _looked(rule, spec.name, patience, kickoff, every_minutes, schedule)


@cpu
def look_at_volume(
    rule: VolumeRule, spec: ModelSpec, patience: Patience, kickoff: datetime, every_minutes: int, schedule: str
) -> list[Decision]:
    """Have many interactions landed since the last training? Reads snapshots' summaries alone."""
    return _looked(rule, spec.name, patience, kickoff, every_minutes, schedule)


@cpu
def look_at_error_rate(
    rule: ErrorRateRule, spec: ModelSpec, patience: Patience, kickoff: datetime, every_minutes: int, schedule: str
) -> list[Decision]:
    """Do calls fail more often than at the last training, and not by chance?"""
    return _looked(rule, spec.name, patience, kickoff, every_minutes, schedule)


@cpu
def look_at_drift(
    rule: DriftRule, spec: ModelSpec, patience: Patience, kickoff: datetime, every_minutes: int, schedule: str
) -> list[Decision]:
    """Has a feature's distribution moved away from the training set's?"""
    return _looked(rule, spec.name, patience, kickoff, every_minutes, schedule)


@cpu
def look_at_feedback(
    rule: FeedbackRule, spec: ModelSpec, patience: Patience, kickoff: datetime, every_minutes: int, schedule: str
) -> list[Decision]:
    """Are users less content than at the last training, and not by chance?"""
    return _looked(rule, spec.name, patience, kickoff, every_minutes, schedule)


@cpu
def decide_by_hand(reason: str, by: str, spec: ModelSpec) -> list[Decision]:
    """A person's decision, written down like any other; covered where a training is under way."""
    from models.triggers.decisions import decide
    from models.triggers.history import LakeHistory

    here = lake()
    rule, now = HandRule(reason=reason, by=by), here.ledger.clock()
    decision = decide(here, LakeHistory(here), spec.name, rule, end=now, every=timedelta(hours=1), patience=Patience())
    _show([decision], spec.name)
    return [decision]


@cpu(enable_deck=False)
def start_retraining(decisions: list[Decision], spec: ModelSpec, profile: TrainingProfile) -> list[str]:
    """Start the retraining of each decision that asked for one, once, and return at once; where they can be seen."""
    from tasks.starting import start

    places = []
    for decision in decisions:
        if decision.request:
            inputs = {"spec": spec, "profile": profile, "cause": decision.cause}
            started = start(RETRAINING, inputs, name=decision.execution)
            log.info("%s %s: %s", "was started before" if started.already else "started", started.name, started.place)
            places.append(started.place)
    return places


def _looked(
    rule: Rule, model: str, patience: Patience, kickoff: datetime, every_minutes: int, schedule: str
) -> list[Decision]:
    """Look once for all fires that are due: a late or doubled one finds the look taken."""
    from lake.windows import Window
    from models.triggers.decisions import decide
    from models.triggers.history import LakeHistory

    here, every = lake(), timedelta(minutes=every_minutes)

    def look(window: Window) -> Decision:
        end = window.end.replace(minute=0, second=0, microsecond=0)
        return decide(here, LakeHistory(here), model, rule, end=end, every=every, patience=patience)

    decisions = due(here, f"{schedule}-{model}", look, kickoff=kickoff, every_minutes=every_minutes)
    _show(decisions, model)
    return decisions


def _show(decisions: list[Decision], model: str) -> None:
    from models.triggers.why import decision_parts

    for decision in decisions:
        log.info("%s: %s. %s", decision.trigger.replace("_", " "), decision.outcome.replace("_", " "), decision.reason)
    publish(15, "Decision", *decision_parts(lake(), model, decisions))

"""The triggers: each check decides and records the reason; a requested retraining is started and not waited for."""

import functools
from datetime import datetime, timedelta
from typing import Any

from lake.lake import Lake
from models.spec import ModelSpec, RetrainingInputs, TrainingProfile
from models.triggers.decisions import Decision
from models.triggers.rules import (
    TRIGGERS,
    DriftRule,
    ErrorRateRule,
    FeedbackRule,
    ManualRule,
    RetryBackoff,
    Rule,
    ScheduleRule,
    VolumeRule,
)
from tasks.environments import cpu
from tasks.runtime import due, execution, log, publish, task_lake

DECISION = (15, "Decision")


def _decide(
    rule: Rule,
    spec: ModelSpec,
    profile: TrainingProfile,
    source: str,
    patience: RetryBackoff,
    kickoff: datetime,
    every_minutes: int,
    schedule: str,
) -> list[Decision]:
    """Decide once for all scheduled times that are due: a late or repeated run finds the decision made."""
    from features.batch.schedule import compute_due
    from lake.contracts.agent_interactions import AGENT_INTERACTIONS
    from lake.windows import Window
    from models.retraining.lost_runs import clear_lost_runs
    from models.triggers.decisions import decide
    from models.triggers.history import LakeHistory
    from tasks.execution.ends import run_end

    lake, every = task_lake(), timedelta(minutes=every_minutes)
    clear_lost_runs(lake, spec.name, run_end)
    inputs = RetrainingInputs(spec=spec, profile=profile, source=source)
    if isinstance(rule, DriftRule) and lake.tables.current(AGENT_INTERACTIONS):
        compute_due(lake)

    def decision(window: Window) -> Decision:
        end = window.end.replace(minute=0, second=0, microsecond=0)
        history = LakeHistory(lake, spec.agents)
        return decide(lake, history, spec.name, rule, end=end, every=every, patience=patience, inputs=inputs)

    decisions = due(lake, f"{schedule}-{spec.name}", kickoff, every_minutes, DECISION, decision)
    if decisions:
        _show(lake, decisions, spec.name)
    return decisions


def _decision_task(rule: type[Rule], question: str) -> Any:
    """The task that decides by rules of one type. Flyte knows a task by its name and types, so each type has a task."""

    @functools.wraps(_decide)
    def task(**inputs: Any) -> list[Decision]:
        return _decide(**inputs)

    task.__name__ = task.__qualname__ = f"decide_on_{TRIGGERS[rule].value}"
    task.__doc__ = question
    task.__annotations__ = _decide.__annotations__ | {"rule": rule}
    return cpu(task)


decide_on_schedule = _decision_task(ScheduleRule, "Are the last training and its data old, and is anything new?")
decide_on_volume = _decision_task(
    VolumeRule, "Have many interactions landed since the last training? Reads only the summaries of snapshots."
)
decide_on_error_rate = _decision_task(
    ErrorRateRule, "Do calls fail significantly more often than at the last training?"
)
decide_on_drift = _decision_task(
    DriftRule,
    "Has the distribution of a feature moved away from the training set's? Computes the features that are due first.",
)
decide_on_feedback = _decision_task(FeedbackRule, "Are users significantly less satisfied than at the last training?")


@cpu
def decide_by_hand(
    reason: str, by: str, spec: ModelSpec, profile: TrainingProfile, source: str, patience: RetryBackoff
) -> list[Decision]:
    """Record a person's decision like any other; it is covered where a training is running."""
    from models.retraining.lost_runs import clear_lost_runs
    from models.triggers.decisions import decide
    from models.triggers.history import LakeHistory
    from tasks.execution.ends import run_end

    lake = task_lake()
    clear_lost_runs(lake, spec.name, run_end)
    decision = decide(
        lake,
        LakeHistory(lake),
        spec.name,
        ManualRule(reason=reason, by=by),
        end=lake.ledger.clock(),
        every=timedelta(hours=1),
        patience=patience,
        key=f"run:{execution()}",  # a retry of this task runs at another time
        inputs=RetrainingInputs(spec=spec, profile=profile, source=source),
    )
    _show(lake, [decision], spec.name)
    return [decision]


@cpu(enable_deck=False)
def start_retraining(decisions: list[Decision], spec: ModelSpec, profile: TrainingProfile, source: str) -> list[str]:
    """Start the run of the model's open request, whichever trigger made it; returns the run's address, without waiting.

    The run gets the inputs of its request, and those of this task only where the request has none. So the next check
    repeats a start that failed. A request whose run has ended without a result is given up.
    """
    from models.retraining.lost_runs import clear_lost_runs
    from models.triggers.requests import request_inputs, request_to_start
    from tasks.execution.ends import run_end
    from tasks.execution.start import ConcurrencyLimitReached, Phase, phase, start

    lake = task_lake()
    clear_lost_runs(lake, spec.name, run_end)
    request = request_to_start(lake, spec.name)
    if request is None or phase(request.run) is not Phase.UNKNOWN:
        return []
    requested = request_inputs(request) or RetrainingInputs(spec=spec, profile=profile, source=source)
    inputs = {"spec": requested.spec, "profile": requested.profile, "source": requested.source, "cause": request.cause}
    try:
        started = start("retraining", inputs, name=request.run)
    except ConcurrencyLimitReached as error:
        log.warning("%s: %s. The next check tries again.", request.run, error)
        return []
    log.info("%s %s: %s", "was started before" if started.already else "started", started.name, started.place)
    return [started.place]


def _show(lake: Lake, decisions: list[Decision], model: str) -> None:
    from reports.decks.triggers import decision_deck

    for decision in decisions:
        log.info("%s: %s. %s", decision.trigger.replace("_", " "), decision.outcome.replace("_", " "), decision.reason)
    publish(*DECISION, *decision_deck(lake, model, decisions))

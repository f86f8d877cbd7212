"""Apply a rule to the history: it fires, it is quiet, or there are not enough data. Pure but for reading the history.

The reference ends at the data cut of the last completed training, or where the window begins if that is earlier: a
scheduled training in between hides nothing. A cause that fired is part of the training that it started, so from then on
the reference begins where that cause began (its hour is estimated, because the window begins before it): what was new
then is normal now, and nothing fires twice for it. Where the cause is over, the reference begins there instead. A
reference that begins so late grows until it has its full length.
"""

import math
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa

from models.registry.state import Training
from models.serialize import stored_fields
from models.triggers.counts import ALL, DAY, HOUR, HourlyCounts, total
from models.triggers.drift import find_drift
from models.triggers.history import History
from models.triggers.power import Sensitivity, detects_doubling, sensitivity
from models.triggers.rates import FalseAlarmBudget, RateComparison, ReferenceWindow, compare
from models.triggers.rules import DriftRule, ErrorRateRule, FeedbackRule, ManualRule, Rule, ScheduleRule, VolumeRule
from models.triggers.window import FindingStatus, RuleCheck, RuleFinding, finite, fired_or_quiet, not_enough

NOTABLE_P_VALUE = 0.01
"""p-value below which the comparison of one agent is kept as evidence."""
CONDITIONAL = "conditional test of two rates (Przyborowski and Wilenski 1940), one-sided, averaged over the dispersion"


def find(rule: Rule, history: History, check: RuleCheck) -> RuleFinding:
    """What the rule finds as of ``check.end``."""
    match rule:
        case ManualRule():
            return RuleFinding(status=FindingStatus.FIRED, reason=rule.reason, evidence={})
        case ScheduleRule():
            return _schedule(rule, history, check)
        case VolumeRule():
            return _volume(rule, history, check)
        case _ if check.last_training is None:
            return not_enough("Nothing was trained yet, so there is nothing to compare with.")
        case ErrorRateRule():
            return _error_rate(rule, history, check, check.last_training)
        case DriftRule():
            return find_drift(rule, history, check, check.last_training)
        case FeedbackRule():
            return _feedback(rule, history, check, check.last_training)


def _schedule(rule: ScheduleRule, history: History, check: RuleCheck) -> RuleFinding:
    """By the data cut and by the end of the last training: by the cut alone, rows that arrive later than ``rule.days``
    would make a training due at every check.
    """
    training, new = check.last_training, history.added_rows(check.last_training)
    if training is None:
        status, reason = FindingStatus.FIRED if new else FindingStatus.NOT_ENOUGH, f"there are {new:,} interactions."
        return RuleFinding(status=status, reason=f"Never trained; {reason}", evidence={"new": new})
    assert training.ended is not None, "triggers measure from a training whose retraining has ended"
    age, rest = (check.end - training.cut) / DAY, max(0.0, (check.end - training.ended) / DAY)
    return RuleFinding(
        status=fired_or_quiet(min(age, rest) >= rule.days and new > 0),
        reason=f"{age:.1f} days since the data cut of the last training, {rest:.1f} since it ended "
        f"(limit {rule.days:g}), {new:,} new interactions.",
        start=training.cut,
        evidence={"age_days": age, "since_end_days": rest, "new": new},
    )


def _volume(rule: VolumeRule, history: History, check: RuleCheck) -> RuleFinding:
    training, new = check.last_training, history.added_rows(check.last_training)
    since = f"since the data cut at {training.cut:%Y-%m-%d %H:%M}" if training else "in all"
    return RuleFinding(
        status=fired_or_quiet(new > rule.new_interactions),
        reason=f"{new:,} new interactions {since} (threshold {rule.new_interactions:,}).",
        start=training.cut if training else None,
        evidence={"new": new},
    )


def _error_rate(rule: ErrorRateRule, history: History, check: RuleCheck, training: Training) -> RuleFinding:
    windows = tuple(timedelta(days=days) for days in rule.windows_days)
    budget = _budget(rule, check, windows)
    counts = _counts(check, training, budget, history.calls_before, history.calls)
    references = _references(counts, check, training, budget)
    if not references:
        return _too_early(check, training)
    compared = compare(counts, check.end, references, budget)
    if not compared:
        first_day = min(reference.end for reference in references.values())
        return not_enough(f"There are no calls before {first_day:%Y-%m-%d} to compare with.")
    overall = [part for part in compared if part.slice == ALL]
    longest = overall[-1]
    power = sensitivity(compared, longest.current.calls / longest.days, budget)
    evidence = {"compared": _plain(compared), "sight": finite(stored_fields(power)), "test": CONDITIONAL}
    if fired := [part for part in compared if part.fires(rule.rise)]:
        first = min(fired, key=lambda part: (part.days, part.p_value / part.level))
        start = check.end - first.days * DAY
        return RuleFinding(
            status=FindingStatus.FIRED,
            reason=f"Error rate {_rise(first)}; p-value {first.p_value:.1g}, level {first.level:.1g}.",
            start=start,
            onset=counts.onset(first.slice, start, check.end, first.reference.value),
            evidence=evidence,
        )
    enough = detects_doubling(overall)
    verdict = "not shown to have risen" if enough else "too few calls to decide"
    return RuleFinding(
        status=FindingStatus.QUIET if enough else FindingStatus.NOT_ENOUGH,
        reason=f"Error rate {_rise(longest)}: {verdict}. {_sensitivity(power)}",
        start=check.end - longest.days * DAY,
        evidence=evidence,
    )


def _feedback(rule: FeedbackRule, history: History, check: RuleCheck, training: Training) -> RuleFinding:
    start, budget = check.end - rule.window_days * DAY, _budget(rule, check, (rule.window_days * DAY,))
    counts = _counts(check, training, budget, history.ratings_before, history.ratings)
    references = _references(counts, check, training, budget)
    if not references:
        return _too_early(check, training)
    compared = compare(counts, check.end, references, budget, sliced=False)
    if not compared or not compared[0].current.calls:
        return not_enough(f"No ratings in {rule.window_days} days, or none before them to compare with.")
    overall = compared[0]
    mean, before = (5 - 4 * rate.value for rate in (overall.current, overall.reference))
    ratings = f"{overall.current.calls:,.0f} ratings of {overall.days:g} days, {before:.2f} before"
    reason = f"Mean rating {mean:.2f} of 5 in {ratings}: {'not ' if mean >= rule.floor else ''}below {rule.floor}"
    evidence = {"mean": mean, "mean_before": before, "compared": _plain(compared), "test": CONDITIONAL}
    if mean >= rule.floor:
        return RuleFinding(status=FindingStatus.QUIET, reason=f"{reason}.", start=start, evidence=evidence)
    worse = overall.p_value < overall.level
    return RuleFinding(
        status=fired_or_quiet(worse),
        reason=f"{reason}; p-value of that many bad ratings {overall.p_value:.1g}, level {overall.level:.1g}.",
        start=start,
        onset=counts.onset(ALL, start, check.end, overall.reference.value) if worse else None,
        evidence=evidence,
    )


def _budget(rule: ErrorRateRule | FeedbackRule, check: RuleCheck, windows: tuple[timedelta, ...]) -> FalseAlarmBudget:
    alarms, reference = rule.false_alarms_a_year, rule.reference_days * DAY
    return FalseAlarmBudget(false_alarms=alarms, interval=check.interval, windows=windows, reference=reference)


def _counts(
    check: RuleCheck,
    training: Training,
    budget: FalseAlarmBudget,
    before: Callable[[Training, datetime], pa.Table],
    after: Callable[[datetime, datetime], pa.Table],
) -> HourlyCounts:
    """Counts of the windows and their references, and as much again to estimate the dispersion.

    They begin at the same time at every check between two trainings, so that the past is read once.
    """
    start = training.cut - 2 * budget.windows[-1] - budget.reference
    return HourlyCounts.of([before(training, start), after(min(training.cut, check.end), check.end)], start, check.end)


def _references(
    counts: HourlyCounts, check: RuleCheck, training: Training, budget: FalseAlarmBudget
) -> dict[timedelta, ReferenceWindow]:
    """The windows that have a reference of at least a day, each with it. Where one has, every shorter one has."""
    earliest = counts.start if check.onset is None else max(counts.start, check.onset)
    if check.onset and check.onset >= counts.start:
        before = total(counts.rates(counts.start, check.onset)).value
        earliest = counts.recovery(check.onset, check.end - budget.windows[0], before) or check.onset
    references = {}
    for window in budget.windows:
        opens = check.end - window
        anchor = min(training.cut, opens)
        start = max(anchor - budget.reference, earliest)
        end = min(max(anchor, start + budget.reference), opens)
        if end - start >= DAY:
            references[window] = ReferenceWindow(start=start, end=end, dispersion_start=earliest)
    return references


def _too_early(check: RuleCheck, training: Training) -> RuleFinding:
    hours = (check.end - (check.onset or training.cut)) / HOUR
    since = "the cause of the last training" if check.onset else "the data cut of the last training"
    return not_enough(f"{hours:.1f} hours since {since}: a window and a reference of a day each are needed.")


def _rise(part: RateComparison) -> str:
    change = f"{part.rise:+.0%}" if math.isfinite(part.rise) else "none before"
    agent = "" if part.slice == ALL else f" of {part.slice}"
    now, before = part.current.value, part.reference.value
    return f"{now:.2%}{agent} over {part.days:g} days, {before:.2%} at the last training ({change})"


def _sensitivity(power: Sensitivity) -> str:
    rise, days = power.minimum_detectable_effect, power.days_to_detect_doubling
    smallest = f"{rise:+.0%}" if math.isfinite(rise) else "none"
    delay = f"{days:g} days" if math.isfinite(days) else "longer than any window"
    return f"Smallest rise that a day can show at this traffic: {smallest}; a doubled rate takes {delay}."


def _plain(compared: Sequence[RateComparison]) -> list[dict[str, Any]]:
    """The comparisons as evidence, under the names that the ledger has."""

    def fields(part: RateComparison) -> dict[str, Any]:
        now, before = part.current, part.reference.value
        rates = {"calls": now.calls, "bad": now.bad, "rate": now.value, "rate_before": before, "rise": part.rise}
        test = {"chance": part.p_value, "level": part.level, "dispersion": part.dispersion.value}
        return finite({"slice": part.slice, "days": part.days, **rates, **test})

    return [fields(part) for part in compared if part.slice == ALL or part.p_value < NOTABLE_P_VALUE]

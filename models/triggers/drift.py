"""Does a feature's distribution differ from that of the training set: largely, significantly, and more than it varies
from day to day?

After a cause that a training covers, the reference consists of whole weeks since it began: a night or a Sunday is not
representative, and features over a week need one to settle. Until there is such a week, the rule does not fire.
"""

import math
from datetime import datetime, timedelta
from functools import partial

from features.drift import Profile, Shift, shifts
from lake.contracts.joined_features import AGENT_PREFIX, INFRASTRUCTURE_PREFIX
from models.registry.state import Training
from models.serialize import stored_fields
from models.triggers.counts import DAY, HOUR
from models.triggers.history import FeatureSample, History
from models.triggers.rules import YEAR, DriftRule
from models.triggers.window import FindingStatus, RuleCheck, RuleFinding, finite, not_enough

WEEK = timedelta(days=7)
NO_REFERENCE = "a reference of at least a week is needed"
KEPT_SHIFTS = 5
"""Largest shifts kept as evidence of a check: the chain of a year of hourly checks stays small."""
ONSET_PARTS = (1, 3 / 4, 1 / 2, 1 / 3, 1 / 4, 1 / 6, 1 / 8, 1 / 12, 1 / 24)
"""Parts of the window, up to its end, that are tried as the time since when the feature is shifted."""


def find_drift(rule: DriftRule, history: History, check: RuleCheck, training: Training) -> RuleFinding:
    """What ``DriftRule`` finds; ``training`` is the last completed one."""
    start = check.end - rule.window_days * DAY
    reference_start = _reference_start(check, training, rule.reference_days)
    if reference_start is None:
        return not_enough(f"Less than a week from the last cause to the data cut of the last training: {NO_REFERENCE}.")
    profiles = history.features_before(training, reference_start)
    if 0 < (days := max((profile.days for profile in profiles), default=0)) < WEEK.days:
        return not_enough(f"{days} days of data before the data cut of the last training: {NO_REFERENCE}.")
    sample = history.features(start, check.end)
    pairs = [(profile, shift) for profile in profiles for shift in _shifts(profile, sample) if _training_helps(shift)]
    judged = [shift for profile, shift in pairs if min(profile.clusters, shift.clusters) >= rule.min_clusters]
    level = rule.false_alarms_a_year / (YEAR / check.interval) / max(len(judged), 1)
    moved = [shift for shift in judged if shift.p_value < level and abs(shift.size) > _limit(shift, rule)]
    ranked = sorted(moved or judged, key=lambda shift: -abs(shift.size) / _limit(shift, rule))
    kept = [finite(stored_fields(shift)) for shift in ranked[:KEPT_SHIFTS]]
    evidence = {"shifts": kept, "level": level, "judged": len(judged)}
    finding = partial(RuleFinding, start=start, evidence=evidence)
    if not judged:
        few = f"No feature has values of {rule.min_clusters} users, or agents' hours, in both windows."
        return finding(status=FindingStatus.NOT_ENOUGH, reason=few)
    largest = ranked[0]
    if not moved:
        reason = f"{len(judged)} features compared; the largest shift: {_text(largest)}."
        return finding(status=FindingStatus.QUIET, reason=reason)
    onset = _onset(history, next(profile for profile, shift in pairs if shift is largest), largest, start, check.end)
    others = f" and {len(moved) - 1} more features" if len(moved) > 1 else ""
    return finding(status=FindingStatus.FIRED, reason=f"{_text(largest)}{others}.", onset=onset)


def _shifts(profile: Profile, sample: FeatureSample) -> list[Shift]:
    """The shifts of one feature; none where the sample has no request."""
    name = profile.name
    return shifts(profile, sample.values[name], sample.clusters[name]) if name in sample.values else []


def _reference_start(check: RuleCheck, training: Training, days: int) -> datetime | None:
    """Where the reference begins; after a cause, whole weeks before the data cut, None if there is less than one."""
    start = training.cut - days * DAY
    if check.onset is None or check.onset <= start:
        return start
    weeks = (training.cut - check.onset) // WEEK
    return training.cut - weeks * WEEK if weeks else None


def _onset(history: History, profile: Profile, moved: Shift, start: datetime, end: datetime) -> datetime:
    """The most likely hour since when the feature is shifted: where size squared, or PSI, times rows is largest."""
    largest, onset = 0.0, start
    for part in ONSET_PARTS:
        begins = end - math.ceil(part * (end - start) / HOUR) * HOUR
        for shift in _shifts(profile, history.features(begins, end)):
            gain = shift.rows * (shift.size**2 if shift.kind == "mean" else shift.size)
            if shift.kind == moved.kind and gain > largest:
                largest, onset = gain, begins
    return onset


def _training_helps(shift: Shift) -> bool:
    """False for missing values of an agent or a cluster: after an outage, or not materialized; no training helps."""
    return not (shift.kind == "missing" and shift.name.startswith((AGENT_PREFIX, INFRASTRUCTURE_PREFIX)))


def _limit(shift: Shift, rule: DriftRule) -> float:
    return shift.daily_variability + (rule.sigma if shift.kind == "mean" else rule.psi)


def _text(shift: Shift) -> str:
    if shift.kind == "mean":
        return f"{shift.name} {shift.size:+.2f} sigma, from {shift.was:.4g} to {shift.now:.4g}"
    what = f"{shift.name} = {shift.moved}" if shift.kind == "shares" else f"{shift.name} missing"
    return f"{what} from {shift.was:.1%} to {shift.now:.1%} (PSI {shift.size:.2f})"

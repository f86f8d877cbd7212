"""Does a feature's distribution differ from that of the training set? Largely, surely, and more than its days do.

After a cause that a training has taken in, the reference is made of whole weeks since it began: a night or a Sunday is
no norm, and features that sum up a week need one to settle. Until the next training has such a week nothing is claimed.
"""

import math
from dataclasses import asdict
from datetime import datetime, timedelta

from features.drift import Profile, Shift, shifts
from lake.contracts.joined_features import AGENT_PREFIX, INFRASTRUCTURE_PREFIX
from models.registry.state import Training
from models.triggers.counts import DAY, HOUR
from models.triggers.history import History
from models.triggers.rules import DriftRule, looks
from models.triggers.window import Finding, Found, Look, finite, too_little

WEEK = timedelta(days=7)
NO_NORM = "a week is needed to know what is normal"
TOLD = 5
"""Shifts that the evidence of a look keeps, the largest first: a year of hourly looks is one chain."""
PARTS = (1, 3 / 4, 1 / 2, 1 / 3, 1 / 4, 1 / 6, 1 / 8, 1 / 12, 1 / 24)
"""Of a window that fired, where its cause may have begun."""


def find_drift(rule: DriftRule, history: History, look: Look, since: Training) -> Finding:
    """What ``DriftRule`` finds; ``since`` is the last completed training."""
    start = look.end - rule.window_days * DAY
    begins = _reference_start(look, since, rule.reference_days)
    if begins is None:
        return too_little(f"Less than a week from the last cause to the data cut of the last training: {NO_NORM}.")
    profiles = history.features_before(since, begins)
    if 0 < (days := max((one.days for one in profiles), default=0)) < WEEK.days:
        return too_little(f"{days} days of data before the data cut of the last training: {NO_NORM}.")
    sample = history.features(start, look.end)
    told = [
        (one, shift)
        for one in profiles
        if one.name in sample.values
        for shift in shifts(one, sample.values[one.name], sample.clusters[one.name])
        if _can_be_learned(shift)
    ]
    solid = [shift for one, shift in told if min(one.clusters, shift.clusters) >= rule.min_clusters]
    level = rule.false_alarms_a_year / looks(look.every) / max(len(solid), 1)
    moved = [shift for shift in solid if shift.chance < level and _size(shift) > _limit(shift, rule)]
    ranked = sorted(moved or solid, key=lambda shift: -_size(shift) / _limit(shift, rule))
    evidence = {"shifts": [finite(asdict(shift)) for shift in ranked[:TOLD]], "level": level, "judged": len(solid)}
    if not solid:
        few = f"No feature has values of {rule.min_clusters} users, or agents' hours, in both windows."
        return Finding(found=Found.NOT_ENOUGH, reason=few, start=start, evidence=evidence)
    largest = ranked[0]
    if not moved:
        reason = f"{len(solid)} features watched; the largest move: {_shift(largest)}."
        return Finding(found=Found.QUIET, reason=reason, start=start, evidence=evidence)
    others = f" and {len(moved) - 1} more features" if len(moved) > 1 else ""
    onset = _began(history, next(one for one, shift in told if shift is largest), largest, start, look.end)
    reason = f"{_shift(largest)}{others}."
    return Finding(found=Found.FIRED, reason=reason, start=start, onset=onset, evidence=evidence)


def _reference_start(look: Look, since: Training, days: int) -> datetime | None:
    """Where the reference begins: after a shift, whole weeks before the cut, because a night or a Sunday is no norm;
    None where less than a week is known.
    """
    start = since.cut - days * DAY
    if look.onset is None or look.onset <= start:
        return start
    weeks = (since.cut - look.onset) // WEEK
    return since.cut - weeks * WEEK if weeks else None


def _began(history: History, before: Profile, moved: Shift, start: datetime, end: datetime) -> datetime:
    """Hour since which the feature has most likely been shifted: where size squared, or PSI, times rows is largest."""
    gain, onset = 0.0, start
    for part in PARTS:
        begins = end - math.ceil(part * (end - start) / HOUR) * HOUR
        sample = history.features(begins, end)
        if before.name not in sample.values:  # no request in it
            continue
        for shift in shifts(before, sample.values[before.name], sample.clusters[before.name]):
            own = shift.rows * (shift.size**2 if shift.kind == "mean" else shift.size)
            if shift.kind == moved.kind and own > gain:
                gain, onset = own, begins
    return onset


def _can_be_learned(shift: Shift) -> bool:
    """An agent's or a cluster's hour is missing after an outage, and where it was not materialized: training mends
    neither.
    """
    return not (shift.kind == "missing" and shift.name.startswith((AGENT_PREFIX, INFRASTRUCTURE_PREFIX)))


def _size(shift: Shift) -> float:
    return abs(shift.size)


def _limit(shift: Shift, rule: DriftRule) -> float:
    return shift.unrest + (rule.sigma if shift.kind == "mean" else rule.psi)


def _shift(shift: Shift) -> str:
    if shift.kind == "mean":
        return f"{shift.name} {shift.size:+.2f} sigma, from {shift.was:.4g} to {shift.now:.4g}"
    what = f"{shift.name} = {shift.moved}" if shift.kind == "shares" else f"{shift.name} missing"
    return f"{what} from {shift.was:.1%} to {shift.now:.1%} (PSI {shift.size:.2f})"

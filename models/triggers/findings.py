"""What a rule makes of the history: fired, quiet, or not enough to tell, with the numbers. Pure but for its reading.

The reference ends at the data cut of the last completed training, or where the window begins if that is earlier: a
scheduled training in between hides nothing. A cause that fired is part of the training that it started, so from then on
the reference begins where that cause began (an hour that is looked for: the window has time before it in it): what was
new then is the norm now, and nothing fires twice for it. Where the cause is over, the reference begins there instead.
A reference that begins so late grows until it is as long as it should be.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

import pyarrow as pa

from features.drift import Profile, Shift, shifts
from models.state import Training
from models.triggers.counts import ALL, DAY, HOUR, Counts, total
from models.triggers.history import History
from models.triggers.rates import Budget, Compared, Reference, Sight, compare, sees_doubled, sight
from models.triggers.rules import (
    DriftRule,
    ErrorRateRule,
    FeedbackRule,
    HandRule,
    Rule,
    ScheduleRule,
    VolumeRule,
    looks,
)

WEEK = timedelta(days=7)


class Found(Enum):
    """What a look came to."""

    FIRED = "fired"
    QUIET = "quiet"
    NOT_ENOUGH = "not_enough"


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """What a rule found in its window."""

    found: Found
    reason: str
    """One sentence with the numbers."""
    start: datetime | None = None
    """Start of the window that was judged, of the one that fired where one did."""
    onset: datetime | None = None
    """Where one fired: the hour in which the cause began."""
    evidence: dict[str, Any]
    """The numbers, as plain JSON."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """When and from where a rule looks."""

    end: datetime
    """End of the windows (UTC)."""
    every: timedelta
    """Until the next look."""
    since: Training | None = None
    """The last completed training."""
    onset: datetime | None = None
    """Start of the newest cause of this rule that a training has taken in: its reference begins no earlier."""


def find(rule: Rule, history: History, look: Look) -> Finding:
    """What the rule finds as of ``look.end``."""
    match rule:
        case HandRule():
            return Finding(found=Found.FIRED, reason=rule.reason, evidence={})
        case ScheduleRule():
            return _schedule(rule, history, look)
        case VolumeRule():
            return _volume(rule, history, look)
        case _ if look.since is None:
            return _too_little("Nothing was trained yet, so there is nothing to compare with.")
        case ErrorRateRule():
            return _error_rate(rule, history, look, look.since)
        case DriftRule():
            return _drift(rule, history, look, look.since)
        case FeedbackRule():
            return _feedback(rule, history, look, look.since)


def _schedule(rule: ScheduleRule, history: History, look: Look) -> Finding:
    new = history.added_rows(look.since)
    if look.since is None:
        found = Found.FIRED if new else Found.NOT_ENOUGH
        return Finding(found=found, reason=f"Never trained; {new:,} interactions are there.", evidence={"new": new})
    age = (look.end - look.since.cut) / DAY
    told = f"{age:.1f} days since the data cut of the last training (limit {rule.days:g}), {new:,} interactions new"
    fired = age >= rule.days and new > 0
    evidence = {"age_days": age, "new": new}
    return Finding(found=_found(fired), reason=f"{told}.", start=look.since.cut, evidence=evidence)


def _volume(rule: VolumeRule, history: History, look: Look) -> Finding:
    new = history.added_rows(look.since)
    since = "ever" if look.since is None else f"since the cut at {look.since.cut:%Y-%m-%d %H:%M}"
    return Finding(
        found=_found(new > rule.new_interactions),
        reason=f"{new:,} new interactions {since} (threshold {rule.new_interactions:,}).",
        start=look.since.cut if look.since else None,
        evidence={"new": new},
    )


def _error_rate(rule: ErrorRateRule, history: History, look: Look, since: Training) -> Finding:
    windows = tuple(timedelta(days=days) for days in rule.windows_days)
    counts = _counts(look, since, rule.reference_days, windows[-1], history.calls_before, history.calls)
    references = _references(counts, look, since, rule.reference_days, windows)
    if windows[0] not in references:
        return _too_young(look, since)
    budget = Budget(false_alarms=rule.false_alarms_a_year, every=look.every, windows=windows)
    compared = compare(counts, look.end, references, budget)
    fired = [one for one in compared if one.fires(rule.rise)]
    whole = [one for one in compared if one.slice == ALL]
    longest = whole[-1]
    seen = sight(compared, longest.current.calls / longest.days, budget)
    evidence = {"compared": _told(compared), "sight": _finite(asdict(seen)), "test": CONDITIONAL}
    if fired:
        first = min(fired, key=lambda one: (one.days, one.chance / one.level))
        return Finding(
            found=Found.FIRED,
            reason=f"Error rate {_rise(first)}; chance of that {first.chance:.1g}, level {first.level:.1g}.",
            start=look.end - first.days * DAY,
            onset=counts.began(first.slice, look.end - first.days * DAY, look.end, first.reference.value),
            evidence=evidence,
        )
    enough = sees_doubled(whole)
    reason = (
        f"Error rate {_rise(longest)}: {'not shown to have risen' if enough else 'too few to tell'}. {_sight(seen)}"
    )
    found = Found.QUIET if enough else Found.NOT_ENOUGH
    return Finding(found=found, reason=reason, start=look.end - longest.days * DAY, evidence=evidence)


def _feedback(rule: FeedbackRule, history: History, look: Look, since: Training) -> Finding:
    window = timedelta(days=rule.window_days)
    start = look.end - window
    counts = _counts(look, since, rule.reference_days, window, history.ratings_before, history.ratings)
    references = _references(counts, look, since, rule.reference_days, (window,))
    if not references:
        return _too_young(look, since)
    budget = Budget(false_alarms=rule.false_alarms_a_year, every=look.every, windows=(window,))
    compared = compare(counts, look.end, references, budget, sliced=False)
    one = compared[0]
    if not one.current.calls or not one.reference.calls:
        return _too_little(f"{one.current.calls:,.0f} ratings now and {one.reference.calls:,.0f} before the training.")
    now, before = (5 - 4 * rate.value for rate in (one.current, one.reference))
    told = f"Mean rating {now:.2f} of 5 in {one.current.calls:,.0f} ratings of {one.days:g} days, {before:.2f} before"
    evidence = {"mean": now, "mean_before": before, "compared": _told(compared), "test": CONDITIONAL}
    if now >= rule.floor:
        return Finding(found=Found.QUIET, reason=f"{told}: not under {rule.floor}.", start=start, evidence=evidence)
    worse = one.chance < one.level
    onset = counts.began(ALL, start, look.end, one.reference.value) if worse else None
    told += f": under {rule.floor}; chance of that many thumbs down {one.chance:.1g}, level {one.level:.1g}"
    return Finding(found=_found(worse), reason=f"{told}.", start=start, onset=onset, evidence=evidence)


def _counts(
    look: Look,
    since: Training,
    reference_days: int,
    longest: timedelta,
    before: Callable[[Training, datetime], pa.Table],
    after: Callable[[datetime, datetime], pa.Table],
) -> Counts:
    """What the windows and their references need. How far back it begins is the same for all looks between two
    trainings, so that the past is read once.
    """
    start = since.cut - longest - reference_days * DAY
    return Counts.of([before(since, start), after(min(since.cut, look.end), look.end)], start, look.end)


def _references(
    counts: Counts, look: Look, since: Training, days: int, windows: Sequence[timedelta]
) -> dict[timedelta, Reference]:
    """The windows that fit, and what each is compared with: at least a day."""
    begun = counts.start if look.onset is None else max(counts.start, look.onset)
    if look.onset and look.onset >= counts.start:
        before = total(counts.rates(counts.start, look.onset)).value
        begun = counts.ended(look.onset, look.end - windows[0], before) or look.onset
    found = {}
    for window in windows:
        opens = look.end - window
        anchor = min(since.cut, opens)
        start = max(anchor - days * DAY, begun)
        end = min(max(anchor, start + days * DAY), opens)
        if end - start >= DAY:
            found[window] = Reference(start=start, end=end, spread_start=begun)
    return found


def _drift(rule: DriftRule, history: History, look: Look, since: Training) -> Finding:
    start = look.end - rule.window_days * DAY
    begins = _drift_reference(look, since, rule.reference_days)
    if begins is None:
        return _too_little(f"Less than a week from the last cause to the data cut of the last training: {NO_NORM}.")
    profiles = history.features_before(since, begins)
    if 0 < (days := max((one.days for one in profiles), default=0)) < WEEK.days:
        return _too_little(f"{days} days of data before the data cut of the last training: {NO_NORM}.")
    sample = history.features(start, look.end)
    told = [
        (one, shift)
        for one in profiles
        if one.name in sample.values
        for shift in shifts(one, sample.values[one.name], sample.clusters[one.name])
    ]
    solid = [shift for one, shift in told if min(one.clusters, shift.clusters) >= rule.min_clusters]
    level = rule.false_alarms_a_year / looks(look.every) / max(len(solid), 1)
    moved = [shift for shift in solid if shift.chance < level and _size(shift) > _limit(shift, rule)]
    ranked = sorted(moved or solid, key=lambda shift: -_size(shift) / _limit(shift, rule))
    evidence = {"shifts": [_finite(asdict(shift)) for shift in ranked[:TOLD]], "level": level, "judged": len(solid)}
    if not solid:
        few = f"No feature has values of {rule.min_clusters} users, or agents' hours, in both windows."
        return Finding(found=Found.NOT_ENOUGH, reason=few, start=start, evidence=evidence)
    largest = ranked[0]
    if not moved:
        reason = f"{len(solid)} features watched; the largest move: {_shift(largest)}."
        return Finding(found=Found.QUIET, reason=reason, start=start, evidence=evidence)
    others = f" and {len(moved) - 1} more features" if len(moved) > 1 else ""
    onset = _drift_began(history, next(one for one, shift in told if shift is largest), largest, start, look.end)
    reason = f"{_shift(largest)}{others}."
    return Finding(found=Found.FIRED, reason=reason, start=start, onset=onset, evidence=evidence)


def _drift_reference(look: Look, since: Training, days: int) -> datetime | None:
    """Where the reference begins: after a shift, whole weeks before the cut, because a night or a Sunday is no norm;
    None where less than a week is known.
    """
    start = since.cut - days * DAY
    if look.onset is None or look.onset <= start:
        return start
    weeks = (since.cut - look.onset) // WEEK
    return since.cut - weeks * WEEK if weeks else None


def _drift_began(history: History, before: Profile, moved: Shift, start: datetime, end: datetime) -> datetime:
    """Hour since which the feature has most likely been shifted: where size squared, or PSI, times rows is largest."""
    gain, onset = 0.0, start
    for part in PARTS:
        begins = end - math.ceil(part * (end - start) / HOUR) * HOUR
        sample = history.features(begins, end)
        for shift in shifts(before, sample.values[before.name], sample.clusters[before.name]):
            own = shift.rows * (shift.size**2 if shift.kind == "mean" else shift.size)
            if shift.kind == moved.kind and own > gain:
                gain, onset = own, begins
    return onset


NO_NORM = "a week is needed to know what is normal"
TOLD = 5
"""Shifts that the evidence of a look keeps, the largest first: a year of hourly looks is one chain."""
PARTS = (1, 3 / 4, 1 / 2, 1 / 3, 1 / 4, 1 / 6, 1 / 8, 1 / 12, 1 / 24)
"""Of a window that fired, where its cause may have begun."""
NOTABLE = 0.01
"""Chance under which an agent's comparison is kept as evidence."""
CONDITIONAL = "conditional test of two rates (Przyborowski and Wilenski 1940), one-sided, averaged over the dispersion"


def _found(fired: bool) -> Found:
    return Found.FIRED if fired else Found.QUIET


def _too_little(reason: str) -> Finding:
    return Finding(found=Found.NOT_ENOUGH, reason=reason, evidence={})


def _too_young(look: Look, since: Training) -> Finding:
    begun = since.cut if look.onset is None else look.onset
    hours = (look.end - begun) / HOUR
    what = "the data cut of the last training" if look.onset is None else "the cause that it was last trained for"
    return _too_little(f"{hours:.1f} hours since {what}: there is no day to compare, and none to compare it with.")


def _rise(one: Compared) -> str:
    now, before = one.current.value, one.reference.value
    change = f"{one.rise:+.0%}" if math.isfinite(one.rise) else "none before"
    where = "" if one.slice == ALL else f" of {one.slice}"
    return f"{now:.2%}{where} over {one.days:g} days, {before:.2%} at the last training ({change})"


def _sight(seen: Sight) -> str:
    rise = f"{seen.smallest_rise:+.0%}" if math.isfinite(seen.smallest_rise) else "none"
    days = f"{seen.days_to_doubled:g} days" if math.isfinite(seen.days_to_doubled) else "longer than any window"
    return f"Smallest rise that a day can show at this traffic: {rise}; a doubled rate takes {days}."


def _size(shift: Shift) -> float:
    return abs(shift.size)


def _limit(shift: Shift, rule: DriftRule) -> float:
    return shift.unrest + (rule.sigma if shift.kind == "mean" else rule.psi)


def _shift(shift: Shift) -> str:
    if shift.kind == "mean":
        return f"{shift.name} {shift.size:+.2f} sigma, from {shift.was:.4g} to {shift.now:.4g}"
    what = f"{shift.name} = {shift.moved}" if shift.kind == "shares" else f"{shift.name} missing"
    return f"{what} from {shift.was:.1%} to {shift.now:.1%} (PSI {shift.size:.2f})"


def _told(compared: Sequence[Compared]) -> list[dict[str, Any]]:
    return [
        _finite(
            {
                "slice": one.slice,
                "days": one.days,
                "calls": one.current.calls,
                "bad": one.current.bad,
                "rate": one.current.value,
                "rate_before": one.reference.value,
                "rise": one.rise,
                "chance": one.chance,
                "level": one.level,
                "dispersion": one.spread.dispersion,
            }
        )
        for one in compared
        if one.slice == ALL or one.chance < NOTABLE
    ]


def _finite(fields: dict[str, Any]) -> dict[str, Any]:
    """JSON has no infinity: what has no bound is null."""
    return {name: None if isinstance(v, float) and not math.isfinite(v) else v for name, v in fields.items()}

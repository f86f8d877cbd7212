"""What a rule makes of the history: fired, quiet, or not enough to tell, with the numbers. Pure but for its reading.

Everything is measured from the last completed training: current windows never reach before its data cut, and references
end there. A cause that fired is part of the training that it started, so the reference begins where that cause began:
what was new then is the norm now, and nothing fires twice for it.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

from features.drift import Shift, shifts
from models.state import Training
from models.triggers.history import History
from models.triggers.rates import ALL, Compared, compare, sees_doubled, sight
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

DAY = timedelta(days=1)


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

    def reference_start(self, days: int) -> datetime:
        """Where the reference begins."""
        assert self.since is not None
        return max(self.since.cut - timedelta(days=days), self.onset or self.since.cut - timedelta(days=days))


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
    every = [timedelta(days=days) for days in rule.windows_days]
    windows = [window for window in every if look.end - window >= since.cut]
    if not windows:
        return _too_young(look, since, every[0])
    reference = history.calls_before(since, look.reference_start(rule.reference_days))
    current = history.calls(look.end - windows[-1], look.end)
    level = rule.false_alarms_a_year / looks(look.every)
    compared = compare(reference, current, look.end, windows, level)
    fired = [one for one in compared if one.fires(rule.rise)]
    longest = [one for one in compared if one.slice == ALL][-1]
    seen = sight(compared, longest.current.calls / longest.days, every)
    evidence = {"compared": _told(compared), "sight": _finite(asdict(seen)), "test": CONDITIONAL}
    if fired:
        first = min(fired, key=lambda one: (one.days, one.chance))
        return Finding(
            found=Found.FIRED,
            reason=f"Error rate {_rise(first)}; chance of that {first.chance:.1g}, level {first.level:.1g}.",
            start=look.end - timedelta(days=first.days),
            evidence=evidence,
        )
    enough = any(sees_doubled(one) for one in compared if one.slice == ALL)
    reason = (
        f"Error rate {_rise(longest)}: {'not shown to have risen' if enough else 'too few to tell'}. {_sight(seen)}"
    )
    found = Found.QUIET if enough else Found.NOT_ENOUGH
    return Finding(found=found, reason=reason, start=look.end - windows[-1], evidence=evidence)


def _feedback(rule: FeedbackRule, history: History, look: Look, since: Training) -> Finding:
    start = max(look.end - timedelta(days=rule.window_days), _next_hour(since.cut))
    if look.end - start < DAY:
        return _too_young(look, since, DAY)
    reference = history.ratings_before(since, look.reference_start(rule.reference_days))
    level = rule.false_alarms_a_year / looks(look.every)
    compared = compare(reference, history.ratings(start, look.end), look.end, [look.end - start], level)
    one = compared[0]
    if not one.current.calls or not one.reference.calls:
        return _too_little(f"{one.current.calls:,.0f} ratings now and {one.reference.calls:,.0f} before the training.")
    now, before = (5 - 4 * rate.value for rate in (one.current, one.reference))
    told = f"Mean rating {now:.2f} of 5 in {one.current.calls:,.0f} ratings of {one.days:.1f} days, {before:.2f} before"
    evidence = {"mean": now, "mean_before": before, "compared": _told(compared), "test": CONDITIONAL}
    if now >= rule.floor:
        return Finding(found=Found.QUIET, reason=f"{told}: not under {rule.floor}.", start=start, evidence=evidence)
    worse = one.chance < one.level
    told += f": under {rule.floor}; chance of that many thumbs down {one.chance:.1g}, level {one.level:.1g}"
    return Finding(found=_found(worse), reason=f"{told}.", start=start, evidence=evidence)


def _drift(rule: DriftRule, history: History, look: Look, since: Training) -> Finding:
    start = look.end - timedelta(days=rule.window_days)
    if start < since.cut:
        return _too_young(look, since, timedelta(days=rule.window_days))
    profiles = history.features_before(since, look.reference_start(rule.reference_days))
    sample = history.features(start, look.end)
    told = [
        (one, shift)
        for one in profiles
        if one.name in sample.values
        for shift in shifts(one, sample.values[one.name], sample.clusters[one.name])
    ]
    solid = [shift for one, shift in told if min(one.clusters, shift.clusters) >= rule.min_clusters]
    level = rule.false_alarms_a_year / looks(look.every) / max(len(solid), 1)
    evidence = {"shifts": [_finite(asdict(shift)) for _, shift in told], "level": level, "judged": len(solid)}
    if not solid:
        few = f"No feature has values of {rule.min_clusters} users, or agents' hours, in both windows."
        return Finding(found=Found.NOT_ENOUGH, reason=few, start=start, evidence=evidence)
    moved = [shift for shift in solid if shift.chance < level and _size(shift) > _limit(shift, rule)]
    largest = max(moved or solid, key=lambda shift: _size(shift) / _limit(shift, rule))
    others = f" and {len(moved) - 1} more features" if len(moved) > 1 else ""
    told_ = (
        f"{_shift(largest)}{others}" if moved else f"{len(solid)} features watched; the largest move: {_shift(largest)}"
    )
    return Finding(found=_found(bool(moved)), reason=f"{told_}.", start=start, evidence=evidence)


CONDITIONAL = (
    "conditional binomial test of two rates (Przyborowski and Wilenski 1940), one-sided, counts over dispersion"
)


def _found(fired: bool) -> Found:
    return Found.FIRED if fired else Found.QUIET


def _too_little(reason: str) -> Finding:
    return Finding(found=Found.NOT_ENOUGH, reason=reason, evidence={})


def _too_young(look: Look, since: Training, needed: timedelta) -> Finding:
    hours = (look.end - since.cut) / timedelta(hours=1)
    return _too_little(f"{hours:.1f} hours since the data cut of the last training; {needed / DAY:g} days are needed.")


def _rise(one: Compared) -> str:
    now, before = one.current.value, one.reference.value
    change = f"{one.rise:+.0%}" if math.isfinite(one.rise) else "none before"
    where = "" if one.slice == ALL else f" of {one.slice}"
    return f"{now:.2%}{where} over {one.days:g} days, {before:.2%} at the last training ({change})"


def _sight(seen: Any) -> str:
    rise = f"{seen.smallest_rise:+.0%}" if math.isfinite(seen.smallest_rise) else "none"
    days = f"{seen.days_to_doubled:g} days" if math.isfinite(seen.days_to_doubled) else "longer than any window"
    return f"Smallest rise that a day can show at this traffic: {rise}; a doubled rate takes {days}."


def _size(shift: Shift) -> float:
    return abs(shift.size)


def _limit(shift: Shift, rule: DriftRule) -> float:
    return rule.sigma if shift.kind == "mean" else rule.psi


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
                "dispersion": one.dispersion,
            }
        )
        for one in compared
    ]


def _finite(fields: dict[str, Any]) -> dict[str, Any]:
    """JSON has no infinity: what has no bound is null."""
    return {name: None if isinstance(v, float) and not math.isfinite(v) else v for name, v in fields.items()}


def _next_hour(instant: datetime) -> datetime:
    floor = instant.replace(minute=0, second=0, microsecond=0)
    return floor if floor == instant else floor + timedelta(hours=1)

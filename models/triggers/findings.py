"""What a rule makes of the history: fired, quiet, or not enough to tell, with the numbers. Pure but for its reading.

The reference ends at the data cut of the last completed training, or where the window begins if that is earlier: a
scheduled training in between hides nothing. A cause that fired is part of the training that it started, so from then on
the reference begins where that cause began (an hour that is looked for: the window has time before it in it): what was
new then is the norm now, and nothing fires twice for it. Where the cause is over, the reference begins there instead.
A reference that begins so late grows until it is as long as it should be.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa

from models.registry.state import Training
from models.triggers.counts import ALL, DAY, HOUR, Counts, total
from models.triggers.drift import find_drift
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
)
from models.triggers.window import Finding, Found, Look, finite, found_if, too_little


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
            return too_little("Nothing was trained yet, so there is nothing to compare with.")
        case ErrorRateRule():
            return _error_rate(rule, history, look, look.since)
        case DriftRule():
            return find_drift(rule, history, look, look.since)
        case FeedbackRule():
            return _feedback(rule, history, look, look.since)


def _schedule(rule: ScheduleRule, history: History, look: Look) -> Finding:
    """The cut alone would be due again at every look while only data older than the rule's days land."""
    new = history.added_rows(look.since)
    if look.since is None:
        found = Found.FIRED if new else Found.NOT_ENOUGH
        return Finding(found=found, reason=f"Never trained; {new:,} interactions are there.", evidence={"new": new})
    assert look.since.ended is not None, "what triggers measure from is a training whose retraining has ended"
    age, rest = (look.end - look.since.cut) / DAY, max(0.0, (look.end - look.since.ended) / DAY)
    told = f"{age:.1f} days since the data cut of the last training, {rest:.1f} since it ended (limit {rule.days:g})"
    told += f", {new:,} interactions new"
    fired = min(age, rest) >= rule.days and new > 0
    evidence = {"age_days": age, "since_end_days": rest, "new": new}
    return Finding(found=found_if(fired), reason=f"{told}.", start=look.since.cut, evidence=evidence)


def _volume(rule: VolumeRule, history: History, look: Look) -> Finding:
    new = history.added_rows(look.since)
    since = "ever" if look.since is None else f"since the cut at {look.since.cut:%Y-%m-%d %H:%M}"
    return Finding(
        found=found_if(new > rule.new_interactions),
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
    budget = _budget(rule, look, windows)
    compared = compare(counts, look.end, references, budget)
    if not compared:
        return too_little(f"No calls before {min(one.end for one in references.values()):%Y-%m-%d} to compare with.")
    fired = [one for one in compared if one.fires(rule.rise)]
    whole = [one for one in compared if one.slice == ALL]
    longest = whole[-1]
    seen = sight(compared, longest.current.calls / longest.days, budget)
    evidence = {"compared": _told(compared), "sight": finite(asdict(seen)), "test": CONDITIONAL}
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
    budget = _budget(rule, look, (window,))
    compared = compare(counts, look.end, references, budget, sliced=False)
    if not compared or not compared[0].current.calls:
        return too_little(f"No ratings in {rule.window_days} days, or none before them to compare with.")
    one = compared[0]
    now, before = (5 - 4 * rate.value for rate in (one.current, one.reference))
    told = f"Mean rating {now:.2f} of 5 in {one.current.calls:,.0f} ratings of {one.days:g} days, {before:.2f} before"
    evidence = {"mean": now, "mean_before": before, "compared": _told(compared), "test": CONDITIONAL}
    if now >= rule.floor:
        return Finding(found=Found.QUIET, reason=f"{told}: not under {rule.floor}.", start=start, evidence=evidence)
    worse = one.chance < one.level
    onset = counts.began(ALL, start, look.end, one.reference.value) if worse else None
    told += f": under {rule.floor}; chance of that many thumbs down {one.chance:.1g}, level {one.level:.1g}"
    return Finding(found=found_if(worse), reason=f"{told}.", start=start, onset=onset, evidence=evidence)


def _budget(rule: ErrorRateRule | FeedbackRule, look: Look, windows: tuple[timedelta, ...]) -> Budget:
    reference = rule.reference_days * DAY
    return Budget(false_alarms=rule.false_alarms_a_year, every=look.every, windows=windows, reference=reference)


def _counts(
    look: Look,
    since: Training,
    reference_days: int,
    longest: timedelta,
    before: Callable[[Training, datetime], pa.Table],
    after: Callable[[datetime, datetime], pa.Table],
) -> Counts:
    """What the windows and their references need, and as much again to know the dispersion by. How far back it begins
    is the same for all looks between two trainings, so that the past is read once.
    """
    start = since.cut - 2 * longest - reference_days * DAY
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


NOTABLE = 0.01
"""Chance under which an agent's comparison is kept as evidence."""
CONDITIONAL = "conditional test of two rates (Przyborowski and Wilenski 1940), one-sided, averaged over the dispersion"


def _too_young(look: Look, since: Training) -> Finding:
    begun = since.cut if look.onset is None else look.onset
    hours = (look.end - begun) / HOUR
    what = "the data cut of the last training" if look.onset is None else "the cause that it was last trained for"
    return too_little(f"{hours:.1f} hours since {what}: there is no day to compare, and none to compare it with.")


def _rise(one: Compared) -> str:
    now, before = one.current.value, one.reference.value
    change = f"{one.rise:+.0%}" if math.isfinite(one.rise) else "none before"
    where = "" if one.slice == ALL else f" of {one.slice}"
    return f"{now:.2%}{where} over {one.days:g} days, {before:.2%} at the last training ({change})"


def _sight(seen: Sight) -> str:
    rise = f"{seen.smallest_rise:+.0%}" if math.isfinite(seen.smallest_rise) else "none"
    days = f"{seen.days_to_doubled:g} days" if math.isfinite(seen.days_to_doubled) else "longer than any window"
    return f"Smallest rise that a day can show at this traffic: {rise}; a doubled rate takes {days}."


def _told(compared: Sequence[Compared]) -> list[dict[str, Any]]:
    return [
        finite(
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

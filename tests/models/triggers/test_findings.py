"""What each rule makes of a history: every outcome, with the sentence that says why."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest

from benchmarks.simulation.history import SimulatedHistory
from benchmarks.simulation.world import (
    DAY_S,
    Recipe,
    Traffic,
    displeased,
    failing,
    instant,
    longer,
    steady,
)
from models.registry.state import Training
from models.triggers.counts import HOUR
from models.triggers.findings import find
from models.triggers.history import FeatureSample
from models.triggers.rules import DriftRule, ErrorRateRule, FeedbackRule, ManualRule, Rule, ScheduleRule, VolumeRule
from models.triggers.window import FindingStatus, RuleCheck, RuleFinding

CUT, LOOK = 40.0, 43.0
TOOK = 6 * HOUR
"""From a training's cut to its end."""
BUSY = Recipe(days=48, seed=3, daily_calls=1_200, error_rate=0.05)


@pytest.fixture(scope="module")
def busy() -> Traffic:
    return steady(BUSY)


def training(cut: float = CUT) -> Training:
    pinned = f"processed.agent_interactions@{int(cut * DAY_S)}"
    at = instant(cut * DAY_S)
    return Training(cut=at, training_set_id=f"set-{cut}", inputs=(pinned,), ended=at + TOOK)


def look(
    rule: Rule, traffic: Traffic, day: float = LOOK, cut: float | None = CUT, onset: datetime | None = None
) -> RuleFinding:
    return looks(rule, traffic, [day], cut, onset)[0]


def looks(
    rule: Rule, traffic: Traffic, days: Sequence[float], cut: float | None = CUT, onset: datetime | None = None
) -> list[RuleFinding]:
    ends = [instant(round(day * 24) * 3600) for day in days]
    now = [instant(0)]
    history = SimulatedHistory(traffic, lambda: now[0])
    since = None if cut is None else training(cut)
    found = []
    for end in ends:
        now[0] = end + timedelta(minutes=10)
        found.append(find(rule, history, RuleCheck(end=end, interval=HOUR, last_training=since, onset=onset)))
    return found


@pytest.mark.parametrize("rule", [ErrorRateRule(), DriftRule(), FeedbackRule()])
def test_before_the_first_training_there_is_nothing_to_compare_with(rule: Rule, busy: Traffic) -> None:
    found = look(rule, busy, cut=None)
    assert found.status is FindingStatus.NOT_ENOUGH
    assert found.reason == "Nothing was trained yet, so there is nothing to compare with."


def test_the_first_training_is_due_as_soon_as_anything_is_there(busy: Traffic) -> None:
    assert look(ScheduleRule(), busy, cut=None).status is FindingStatus.FIRED
    nothing = busy.take(np.zeros(0, int))
    assert look(ScheduleRule(), nothing, cut=None).status is FindingStatus.NOT_ENOUGH


def test_the_schedule_fires_by_age_and_not_without_anything_new(busy: Traffic) -> None:
    young = look(ScheduleRule(), busy, day=47.0)
    assert young.status is FindingStatus.QUIET
    assert young.reason.startswith("7.0 days since the data cut of the last training, 6.8 since it ended (limit 7), ")
    due = look(ScheduleRule(), busy, day=47.25)
    assert due.status is FindingStatus.FIRED
    assert (due.evidence["age_days"], due.evidence["since_end_days"]) == (7.25, 7.0)
    old = busy.take(busy.at < CUT * DAY_S - 400)
    assert look(ScheduleRule(), old, day=47.5).status is FindingStatus.QUIET


def test_volume_counts_what_landed_since_the_pin(busy: Traffic) -> None:
    new = int(((busy.landed > CUT * DAY_S) & (busy.landed <= LOOK * DAY_S + 600)).sum())
    assert look(VolumeRule(new_interactions=new), busy).status is FindingStatus.QUIET
    assert look(VolumeRule(new_interactions=new - 1), busy).status is FindingStatus.FIRED


def test_a_person_needs_no_evidence(busy: Traffic) -> None:
    assert look(ManualRule(reason="new prompt", by="ada"), busy).reason == "new prompt"


@pytest.mark.parametrize("rule", [ErrorRateRule(), DriftRule(), FeedbackRule()])
def test_where_nothing_changed_the_rules_are_quiet(rule: Rule, busy: Traffic) -> None:
    found = look(rule, busy)
    assert found.status is FindingStatus.QUIET
    assert found.start is not None
    assert found.onset is None


CHANGES: list[tuple[Rule, Callable[[Traffic], Traffic], str]] = [
    (ErrorRateRule(), lambda traffic: failing(traffic, 2.0, LOOK - 1), "Error rate"),
    (DriftRule(), lambda traffic: longer(traffic, 3.0, LOOK - 1), "query_characters +"),
    (FeedbackRule(), lambda traffic: displeased(traffic, 0.6, LOOK - 5), "Mean rating"),
]


@pytest.mark.parametrize(("rule", "change", "sentence"), CHANGES)
def test_what_changed_fires_and_is_dated(
    rule: Rule, change: Callable[[Traffic], Traffic], sentence: str, busy: Traffic
) -> None:
    found = look(rule, change(busy))
    assert found.status is FindingStatus.FIRED
    assert found.reason.startswith(sentence)
    assert found.onset is not None
    began = LOOK - (5 if isinstance(rule, FeedbackRule) else 1)
    assert abs((found.onset - instant(began * DAY_S)) / HOUR) <= 12


def test_too_few_errors_say_the_smallest_rise_and_the_delay() -> None:
    found = look(ErrorRateRule(windows_days=[1, 2]), steady(replace(BUSY, daily_calls=40)))
    assert found.status is FindingStatus.NOT_ENOUGH
    assert "too few calls to decide" in found.reason
    assert "Smallest rise that a day can show at this traffic: +" in found.reason
    assert found.reason.endswith((" days.", "longer than any window."))


def test_no_errors_at_all_promise_nothing() -> None:
    found = look(ErrorRateRule(), steady(replace(BUSY, error_rate=0.0)))
    assert found.status is FindingStatus.NOT_ENOUGH
    assert "Smallest rise that a day can show at this traffic: none" in found.reason
    assert found.evidence["sight"] == {"smallest_rise": None, "days_to_doubled": None}


def test_a_training_in_between_hides_nothing(busy: Traffic) -> None:
    changed = failing(busy, 2.0, LOOK - 1)
    assert look(ErrorRateRule(), changed, cut=LOOK - 0.5).status is FindingStatus.FIRED
    assert look(DriftRule(), longer(busy, 3.0, LOOK - 1), cut=LOOK - 0.5).status is FindingStatus.FIRED


def test_a_cause_that_was_trained_for_does_not_fire_again(busy: Traffic) -> None:
    changed = displeased(failing(longer(busy, 3.0, 40), 3.0, 40), 0.6, 40)
    for rule in (ErrorRateRule(), FeedbackRule()):
        later = looks(rule, changed, [41 + third / 3 for third in range(21)], cut=40.7, onset=instant(40 * DAY_S))
        assert FindingStatus.FIRED not in {one.status for one in later}
    young = look(DriftRule(), changed, cut=40.7, onset=instant(40 * DAY_S))
    assert young.status is FindingStatus.NOT_ENOUGH
    assert "a reference of at least a week is needed" in young.reason


def test_right_after_a_cause_there_is_no_day_to_compare_with(busy: Traffic) -> None:
    found = look(ErrorRateRule(), failing(busy, 3.0, 40), day=41.0, cut=40.7, onset=instant(40 * DAY_S))
    assert found.status is FindingStatus.NOT_ENOUGH
    assert found.reason.startswith("24.0 hours since the cause of the last training")


def test_an_incident_that_is_over_does_not_dull_the_next_one(busy: Traffic) -> None:
    incident = failing(busy, 5.0, 34, 34.3)
    again = failing(incident, 2.5, LOOK - 1)
    assert look(ErrorRateRule(), incident, cut=34.2, onset=instant(34 * DAY_S)).status is not FindingStatus.FIRED
    assert look(ErrorRateRule(), again, cut=34.2, onset=instant(34 * DAY_S)).status is FindingStatus.FIRED


def test_an_empty_window_is_no_evidence(busy: Traffic) -> None:
    silent = busy.take(busy.at < CUT * DAY_S)
    assert look(ErrorRateRule(), silent).status is not FindingStatus.FIRED
    assert look(FeedbackRule(), silent, day=47.5).status is FindingStatus.NOT_ENOUGH
    assert look(DriftRule(), silent).status is FindingStatus.NOT_ENOUGH


def test_few_users_are_not_enough_for_drift() -> None:
    few = longer(steady(replace(BUSY, users=6)), 3.0, LOOK - 1)
    moved = [shift["name"] for shift in look(DriftRule(), few).evidence["shifts"]]
    assert "query_characters" not in moved


def test_a_week_of_data_comes_before_any_drift(busy: Traffic) -> None:
    young = busy.take(busy.at > 36 * DAY_S)
    found = look(DriftRule(), longer(young, 5.0, LOOK - 1))
    assert found.status is FindingStatus.NOT_ENOUGH
    assert "4 days of data before" in found.reason


def test_the_first_hours_after_an_outage_are_no_drift(busy: Traffic) -> None:
    resumed = busy.take((busy.at < 41 * DAY_S) | (busy.at > 43.3 * DAY_S))
    found = looks(DriftRule(), resumed, [43.4 + third / 12 for third in range(20)])
    assert FindingStatus.FIRED not in {one.status for one in found}


def test_strict_weekends_are_no_drift() -> None:
    weekends = replace(BUSY, weekend_mix=(0.0, 0.1, 0.1, 0.8), days=60)
    traffic = steady(weekends)
    found = looks(DriftRule(), traffic, [47 + quarter / 4 for quarter in range(32)], cut=46.5)
    assert {one.status for one in found} == {FindingStatus.QUIET}


def test_what_was_not_there_at_the_look_is_not_seen(busy: Traffic) -> None:
    changed = failing(busy, 3.0, LOOK - 1)
    held = replace(changed, landed=np.where(changed.at > (LOOK - 1) * DAY_S, changed.at + DAY_S * 5, changed.landed))
    assert look(ErrorRateRule(), held).status is not FindingStatus.FIRED


def test_the_evidence_is_small_and_plain(busy: Traffic) -> None:
    import json

    for rule in (ErrorRateRule(), DriftRule(), FeedbackRule()):
        assert len(json.dumps(look(rule, busy).evidence, allow_nan=False)) < 4_000


class Silent(SimulatedHistory):
    """Nobody asked anything in the last hours of the look, as a lake shows it: without a single column."""

    def features(self, start: datetime, end: datetime) -> FeatureSample:
        last = instant(LOOK * DAY_S) - 3 * HOUR
        if start >= last:
            return FeatureSample(values={}, clusters={}, days=np.zeros(0, int))
        return super().features(start, min(end, last))


def test_a_shift_is_seen_although_the_last_hours_were_silent(busy: Traffic) -> None:
    now = instant(LOOK * DAY_S)
    history = Silent(longer(busy, 5.0, LOOK - 1), lambda: now)
    found = find(DriftRule(), history, RuleCheck(end=now, interval=HOUR, last_training=training()))
    assert found.status is FindingStatus.FIRED
    assert found.onset is not None

"""The finding of each rule: every status, with its reason."""

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

CUT, CHECK = 40.0, 43.0
TOOK = 6 * HOUR
"""Time from a training's data cut to its end."""
BUSY = Recipe(days=48, seed=3, daily_calls=1_200, error_rate=0.05)


@pytest.fixture(scope="module")
def busy() -> Traffic:
    return steady(BUSY)


def training(cut: float = CUT) -> Training:
    pinned = f"processed.agent_interactions@{int(cut * DAY_S)}"
    at = instant(cut * DAY_S)
    return Training(cut=at, training_set_id=f"set-{cut}", inputs=(pinned,), ended=at + TOOK)


def check(
    rule: Rule, traffic: Traffic, day: float = CHECK, cut: float | None = CUT, onset: datetime | None = None
) -> RuleFinding:
    return checks(rule, traffic, [day], cut, onset)[0]


def checks(
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
    found = check(rule, busy, cut=None)
    assert found.status is FindingStatus.NOT_ENOUGH
    assert found.reason == "Nothing was trained yet, so there is nothing to compare with."


def test_the_first_training_is_due_as_soon_as_there_are_rows(busy: Traffic) -> None:
    assert check(ScheduleRule(), busy, cut=None).status is FindingStatus.FIRED
    nothing = busy.take(np.zeros(0, int))
    assert check(ScheduleRule(), nothing, cut=None).status is FindingStatus.NOT_ENOUGH


def test_the_schedule_fires_by_age_and_only_with_new_rows(busy: Traffic) -> None:
    young = check(ScheduleRule(), busy, day=47.0)
    assert young.status is FindingStatus.QUIET
    assert young.reason.startswith("7.0 days since the data cut of the last training, 6.8 since it ended (limit 7), ")
    due = check(ScheduleRule(), busy, day=47.25)
    assert due.status is FindingStatus.FIRED
    assert (due.evidence["age_days"], due.evidence["since_end_days"]) == (7.25, 7.0)
    old = busy.take(busy.at < CUT * DAY_S - 400)
    assert check(ScheduleRule(), old, day=47.5).status is FindingStatus.QUIET


def test_volume_counts_rows_since_the_pinned_snapshot(busy: Traffic) -> None:
    new = int(((busy.landed > CUT * DAY_S) & (busy.landed <= CHECK * DAY_S + 600)).sum())
    assert check(VolumeRule(new_interactions=new), busy).status is FindingStatus.QUIET
    assert check(VolumeRule(new_interactions=new - 1), busy).status is FindingStatus.FIRED


def test_a_person_needs_no_evidence(busy: Traffic) -> None:
    assert check(ManualRule(reason="new prompt", by="ada"), busy).reason == "new prompt"


@pytest.mark.parametrize("rule", [ErrorRateRule(), DriftRule(), FeedbackRule()])
def test_without_a_change_the_rules_are_quiet(rule: Rule, busy: Traffic) -> None:
    found = check(rule, busy)
    assert found.status is FindingStatus.QUIET
    assert found.start is not None
    assert found.onset is None


CHANGES: list[tuple[Rule, Callable[[Traffic], Traffic], str]] = [
    (ErrorRateRule(), lambda traffic: failing(traffic, 2.0, CHECK - 1), "Error rate"),
    (DriftRule(), lambda traffic: longer(traffic, 3.0, CHECK - 1), "query_characters +"),
    (FeedbackRule(), lambda traffic: displeased(traffic, 0.6, CHECK - 5), "Mean rating"),
]


@pytest.mark.parametrize(("rule", "change", "sentence"), CHANGES)
def test_a_change_fires_with_its_onset(
    rule: Rule, change: Callable[[Traffic], Traffic], sentence: str, busy: Traffic
) -> None:
    found = check(rule, change(busy))
    assert found.status is FindingStatus.FIRED
    assert found.reason.startswith(sentence)
    assert found.onset is not None
    began = CHECK - (5 if isinstance(rule, FeedbackRule) else 1)
    assert abs((found.onset - instant(began * DAY_S)) / HOUR) <= 12


def test_with_too_few_errors_the_reason_has_the_smallest_rise_and_the_delay() -> None:
    found = check(ErrorRateRule(windows_days=[1, 2]), steady(replace(BUSY, daily_calls=40)))
    assert found.status is FindingStatus.NOT_ENOUGH
    assert "too few calls to decide" in found.reason
    assert "Smallest rise that a day can show at this traffic: +" in found.reason
    assert found.reason.endswith((" days.", "longer than any window."))


def test_without_errors_no_rise_is_detectable() -> None:
    found = check(ErrorRateRule(), steady(replace(BUSY, error_rate=0.0)))
    assert found.status is FindingStatus.NOT_ENOUGH
    assert "Smallest rise that a day can show at this traffic: none" in found.reason
    assert found.evidence["sight"] == {"smallest_rise": None, "days_to_doubled": None}


def test_a_training_in_between_hides_nothing(busy: Traffic) -> None:
    changed = failing(busy, 2.0, CHECK - 1)
    assert check(ErrorRateRule(), changed, cut=CHECK - 0.5).status is FindingStatus.FIRED
    assert check(DriftRule(), longer(busy, 3.0, CHECK - 1), cut=CHECK - 0.5).status is FindingStatus.FIRED


def test_a_cause_that_was_trained_for_does_not_fire_again(busy: Traffic) -> None:
    changed = displeased(failing(longer(busy, 3.0, 40), 3.0, 40), 0.6, 40)
    for rule in (ErrorRateRule(), FeedbackRule()):
        later = checks(rule, changed, [41 + third / 3 for third in range(21)], cut=40.7, onset=instant(40 * DAY_S))
        assert FindingStatus.FIRED not in {finding.status for finding in later}
    young = check(DriftRule(), changed, cut=40.7, onset=instant(40 * DAY_S))
    assert young.status is FindingStatus.NOT_ENOUGH
    assert "a reference of at least a week is needed" in young.reason


def test_right_after_a_cause_there_is_no_reference(busy: Traffic) -> None:
    found = check(ErrorRateRule(), failing(busy, 3.0, 40), day=41.0, cut=40.7, onset=instant(40 * DAY_S))
    assert found.status is FindingStatus.NOT_ENOUGH
    assert found.reason.startswith("24.0 hours since the cause of the last training")


def test_an_incident_that_is_over_does_not_hide_the_next_one(busy: Traffic) -> None:
    incident = failing(busy, 5.0, 34, 34.3)
    again = failing(incident, 2.5, CHECK - 1)
    assert check(ErrorRateRule(), incident, cut=34.2, onset=instant(34 * DAY_S)).status is not FindingStatus.FIRED
    assert check(ErrorRateRule(), again, cut=34.2, onset=instant(34 * DAY_S)).status is FindingStatus.FIRED


def test_an_empty_window_is_no_evidence(busy: Traffic) -> None:
    silent = busy.take(busy.at < CUT * DAY_S)
    assert check(ErrorRateRule(), silent).status is not FindingStatus.FIRED
    assert check(FeedbackRule(), silent, day=47.5).status is FindingStatus.NOT_ENOUGH
    assert check(DriftRule(), silent).status is FindingStatus.NOT_ENOUGH


def test_few_users_are_not_enough_for_drift() -> None:
    few = longer(steady(replace(BUSY, users=6)), 3.0, CHECK - 1)
    moved = [shift["name"] for shift in check(DriftRule(), few).evidence["shifts"]]
    assert "query_characters" not in moved


def test_a_week_of_data_comes_before_any_drift(busy: Traffic) -> None:
    young = busy.take(busy.at > 36 * DAY_S)
    found = check(DriftRule(), longer(young, 5.0, CHECK - 1))
    assert found.status is FindingStatus.NOT_ENOUGH
    assert "4 days of data before" in found.reason


def test_the_first_hours_after_an_outage_are_no_drift(busy: Traffic) -> None:
    resumed = busy.take((busy.at < 41 * DAY_S) | (busy.at > 43.3 * DAY_S))
    found = checks(DriftRule(), resumed, [43.4 + third / 12 for third in range(20)])
    assert FindingStatus.FIRED not in {finding.status for finding in found}


def test_strict_weekends_are_no_drift() -> None:
    weekends = replace(BUSY, weekend_mix=(0.0, 0.1, 0.1, 0.8), days=60)
    traffic = steady(weekends)
    found = checks(DriftRule(), traffic, [47 + quarter / 4 for quarter in range(32)], cut=46.5)
    assert {finding.status for finding in found} == {FindingStatus.QUIET}


def test_rows_that_landed_after_the_check_are_not_used(busy: Traffic) -> None:
    changed = failing(busy, 3.0, CHECK - 1)
    held = replace(changed, landed=np.where(changed.at > (CHECK - 1) * DAY_S, changed.at + DAY_S * 5, changed.landed))
    assert check(ErrorRateRule(), held).status is not FindingStatus.FIRED


def test_the_evidence_is_small_plain_json(busy: Traffic) -> None:
    import json

    for rule in (ErrorRateRule(), DriftRule(), FeedbackRule()):
        assert len(json.dumps(check(rule, busy).evidence, allow_nan=False)) < 4_000


class NoLateRequests(SimulatedHistory):
    """No requests in the last hours of the window, which a lake returns as a sample without features."""

    def features(self, start: datetime, end: datetime) -> FeatureSample:
        last = instant(CHECK * DAY_S) - 3 * HOUR
        if start >= last:
            return FeatureSample(values={}, clusters={}, days=np.zeros(0, int))
        return super().features(start, min(end, last))


def test_a_shift_is_detected_although_the_last_hours_had_no_requests(busy: Traffic) -> None:
    now = instant(CHECK * DAY_S)
    history = NoLateRequests(longer(busy, 5.0, CHECK - 1), lambda: now)
    found = find(DriftRule(), history, RuleCheck(end=now, interval=HOUR, last_training=training()))
    assert found.status is FindingStatus.FIRED
    assert found.onset is not None

"""The canary's state machine: every action has one reason, harm goes first, and time never turns into a promotion."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import hypothesis
import hypothesis.strategies as st
import pytest

from models.registry.state import Rollout
from serving.policy import CanaryRule
from serving.rollout.state_machine import Action, Exposure, Findings, MissedCalls, Step, next_step, next_watch

RULE = CanaryRule(steps=[0.1, 0.5], min_requests=100, min_users=10, deadline_hours=48.0)
BEGAN = datetime(2026, 11, 24, tzinfo=UTC)
ENOUGH = Exposure(requests=500, users=40)
UNDECIDED = Findings(worse="", not_worse=False, missing="errors may be up by 4.0%")
FINE = Findings(worse="", not_worse=True, missing="")
HARM = Findings(worse="errors up by 12.0%", not_worse=False, missing="")


def missed(calls: int, of: int, minutes: float) -> MissedCalls:
    return MissedCalls(calls=calls, of=of, minutes=minutes)


def step_in(rule: CanaryRule, **changes: Any) -> Step:
    """The next step in the usual situation with these changes."""
    rollout: dict[str, Any] = {"share": 0.5, "began": BEGAN, "approved": False}
    rollout |= {name: changes.pop(name) for name in rollout if name in changes}
    facts: dict[str, Any] = {
        "now": BEGAN + timedelta(hours=5),
        "exposure": ENOUGH,
        "missed": MissedCalls(calls=0, of=0, minutes=0.0),
        "findings": FINE,
        "void": "",
    }
    return next_step(rule, Rollout(version=3, baseline="base", opened=BEGAN, key="r", **rollout), **(facts | changes))


@pytest.mark.parametrize(
    ("changes", "action", "share", "why"),
    [
        ({"began": None, "share": 0.0}, Action.WIDEN, 0.1, "The shadow has passed"),
        ({"share": 0.1, "findings": UNDECIDED}, Action.WIDEN, 0.5, "No harm shown on 500 requests of 40 users at 10%"),
        ({"share": 0.1, "exposure": Exposure(requests=99, users=40)}, Action.WAIT, 0.1, "99 requests of 40 users"),
        ({"share": 0.1, "exposure": Exposure(requests=500, users=9)}, Action.WAIT, 0.1, "9 users"),
        ({}, Action.PROMOTE, 0.9, "Shown not worse than the margins"),
        ({"findings": UNDECIDED}, Action.WAIT, 0.5, "errors may be up by 4.0%"),
        ({"exposure": Exposure(requests=1, users=1)}, Action.WAIT, 0.5, "1 requests of 1 users"),
        ({"findings": HARM}, Action.ROLL_BACK, 0.0, "Shown worse: errors up by 12.0%"),
        ({"findings": HARM, "exposure": Exposure(requests=30, users=3)}, Action.ROLL_BACK, 0.0, "Shown worse"),
        ({"findings": HARM, "now": BEGAN + timedelta(days=9)}, Action.ROLL_BACK, 0.0, "Shown worse"),
        (
            {"now": BEGAN + timedelta(hours=49), "findings": UNDECIDED},
            Action.GIVE_UP,
            0.0,
            "within 48 hours: err",
        ),
        ({"missed": missed(9, 9, 9.9)}, Action.PROMOTE, 0.9, "Shown not worse than the margins"),
        ({"missed": missed(4, 4, 60.0)}, Action.PROMOTE, 0.9, "Shown not worse than the margins"),
        (
            {"missed": MissedCalls(calls=9, of=19, minutes=60.0)},
            Action.PROMOTE,
            0.9,
            "Shown not worse than the margins",
        ),
        (
            {"missed": MissedCalls(calls=9, of=18, minutes=10.0)},
            Action.ROLL_BACK,
            0.0,
            "9 of its last 18 calls, over 10",
        ),
        ({"void": "Void: replaced."}, Action.GIVE_UP, 0.0, "Void: replaced."),
    ],
)
def test_each_situation_has_one_step(changes: dict[str, Any], action: Action, share: float, why: str) -> None:
    step = step_in(RULE, **changes)
    assert step.action is action
    assert step.share == pytest.approx(share)
    assert why in step.reason


def test_where_the_rule_needs_approval_the_promotion_waits_for_it() -> None:
    rule = replace(RULE, approval=True)
    assert step_in(rule).action is Action.WAIT
    assert "fuelline approve" in step_in(rule).reason
    assert step_in(rule, approved=True).action is Action.PROMOTE
    late = step_in(rule, now=BEGAN + timedelta(hours=49))
    assert (late.action, "nobody approved it" in late.reason) == (Action.GIVE_UP, True)


def test_approval_alone_promotes_nothing() -> None:
    assert step_in(replace(RULE, approval=True), approved=True, findings=UNDECIDED).action is Action.WAIT


@hypothesis.given(
    share=st.sampled_from([0.0, 0.1, 0.5]),
    hours=st.floats(0, 100),
    exposure=st.builds(Exposure, requests=st.integers(0, 1000), users=st.integers(0, 100)),
    missed=st.builds(MissedCalls, calls=st.integers(0, 9), of=st.just(12), minutes=st.sampled_from([0.0, 5.0, 15.0])),
    findings=st.sampled_from([UNDECIDED, FINE, HARM]),
    approved=st.booleans(),
    void=st.sampled_from(["", "Void."]),
)
def test_nothing_is_promoted_unless_everything_is_shown(
    share: float, hours: float, exposure: Exposure, missed: MissedCalls, findings: Findings, approved: bool, void: str
) -> None:
    began = BEGAN if share else None
    now = BEGAN + timedelta(hours=hours)
    step = step_in(
        RULE,
        share=share,
        began=began,
        now=now,
        exposure=exposure,
        missed=missed,
        findings=findings,
        approved=approved,
        void=void,
    )
    if step.action is Action.PROMOTE:
        assert findings.not_worse
        assert not findings.worse
        assert not void
        assert share == RULE.steps[-1]
        assert exposure.requests >= RULE.min_requests
        assert hours <= RULE.deadline_hours
        assert missed.calls < 6 or missed.minutes < RULE.missing_minutes
    if step.action is Action.WIDEN:
        assert step.share > share
        assert not findings.worse or began is None
    if findings.worse and began and not void:
        assert step.action is Action.ROLL_BACK


def test_the_watch_ends_after_its_time_and_rolls_back_a_version_that_is_shown_worse() -> None:
    until = BEGAN + timedelta(hours=24)
    no_missed_calls, most_calls_missed = (
        MissedCalls(calls=0, of=0, minutes=0.0),
        MissedCalls(calls=40, of=41, minutes=30.0),
    )
    assert next_watch(RULE, until=until, now=BEGAN, missed=no_missed_calls, findings=FINE).action is Action.WAIT
    assert (
        next_watch(RULE, until=until, now=until, missed=no_missed_calls, findings=UNDECIDED).action is Action.END_WATCH
    )
    assert next_watch(RULE, until=until, now=until, missed=no_missed_calls, findings=HARM).action is Action.ROLL_BACK
    assert next_watch(RULE, until=until, now=BEGAN, missed=most_calls_missed, findings=FINE).action is Action.ROLL_BACK

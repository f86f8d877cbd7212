"""The canary as a pure state machine: the facts about a live rollout go in, the one next step comes out.

Harm is acted on first and without delay; a share only grows; the promotion needs every metric shown not worse, at the
last step, with the baseline still in production. A candidate of which this is not shown by the deadline is
inconclusive, and its users go back to the stable version. Nothing here reads a clock, a store or a server, so every
decision can be made again from what the ledger holds.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from models.registry.state import Rollout
from serving.policy import CanaryRule

MIN_MISSED_CALLS = 5
"""Calls that have not reached a candidate before it counts as unreachable: one or two are a replica's restart."""


class Action(Enum):
    """What a step does."""

    WAIT = "wait"
    WIDEN = "widen"
    PROMOTE = "promote"
    ROLL_BACK = "roll_back"
    GIVE_UP = "give_up"
    """Inconclusive: back to the stable version, and a person is alerted."""
    END_WATCH = "end_watch"


@dataclass(frozen=True, kw_only=True, slots=True)
class Exposure:
    """What the candidate has answered since its share was last widened."""

    requests: int = 0
    users: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class MissedCalls:
    """The candidate's last calls, and how many of them did not reach it while the stable version answered.

    The ledger stores these field names.
    """

    calls: int = 0
    """Those that did not reach it."""
    of: int = 0
    minutes: float = 0.0
    """From the first missed call to the last."""

    def is_unreachable(self, rule: CanaryRule) -> bool:
        """Whether most calls do not reach the candidate, for ``missing_minutes`` of the rule or longer."""
        many = self.calls >= MIN_MISSED_CALLS and 2 * self.calls >= self.of
        return many and self.minutes >= rule.missing_minutes


@dataclass(frozen=True, kw_only=True, slots=True)
class Findings:
    """What the evidence shows, described where it shows something."""

    worse: str = ""
    """The harm; empty where none is shown."""
    not_worse: bool = False
    """Every metric is shown to be within its margin."""
    missing: str = ""
    """What is not shown yet."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """The next step and its reason, in a sentence."""

    action: Action
    reason: str
    share: float = 0.0
    """Share of the users that the candidate answers after it (0..1)."""


def next_step(
    rule: CanaryRule,
    rollout: Rollout,
    *,
    now: datetime,
    exposure: Exposure,
    missed: MissedCalls,
    findings: Findings,
    void: str,
) -> Step:
    """The next step of an open rollout that has passed its shadow.

    ``now`` is the time of the interim analysis; ``void`` says why a promotion would be void, and is empty while the
    judged baseline is in production.
    """
    if void:
        return Step(action=Action.GIVE_UP, reason=void)
    if rollout.began is None:
        first = rule.steps[0]
        return Step(action=Action.WIDEN, reason=f"The shadow has passed: {first:.0%} of the users.", share=first)
    if harm := _harm_step(rule, missed, findings, after=""):
        return harm
    approved, share = rollout.approved, rollout.share
    if now - rollout.began > timedelta(hours=rule.deadline_hours):
        return Step(action=Action.GIVE_UP, reason=_deadline_reason(rule, findings, approved))
    seen = f"{exposure.requests:,} requests of {exposure.users:,} users at {share:.0%}"
    if exposure.requests < rule.min_requests or exposure.users < rule.min_users:
        return _wait(share, f"{seen}, of {rule.min_requests:,} and {rule.min_users:,} that a step needs")
    if wider := next((step for step in rule.steps if step > share), None):
        return Step(action=Action.WIDEN, reason=f"No harm shown on {seen}.", share=wider)
    if not findings.not_worse:
        return _wait(share, f"{seen}; {findings.missing}")
    if rule.approval and not approved:
        return _wait(share, "shown not worse; a person has to approve (fuelline approve MODEL@VERSION)")
    reason = f"Shown not worse than the margins, on {seen}."
    return Step(action=Action.PROMOTE, reason=reason, share=1 - rule.soak_holdback)


def next_watch(rule: CanaryRule, *, until: datetime, now: datetime, missed: MissedCalls, findings: Findings) -> Step:
    """The next step of the watch over a promoted version."""
    if harm := _harm_step(rule, missed, findings, after=" after its promotion"):
        return harm
    if now >= until:
        reason = f"Watched for {rule.soak_hours:g} hours, no harm shown."
        return Step(action=Action.END_WATCH, reason=reason, share=1.0)
    return _wait(1 - rule.soak_holdback, f"watched until {until:%Y-%m-%d %H:%M} UTC; no harm shown")


def _harm_step(rule: CanaryRule, missed: MissedCalls, findings: Findings, after: str) -> Step | None:
    """The rollback of a version that is unreachable or shown worse; None of any other."""
    if missed.is_unreachable(rule):
        reason = (
            f"Unreachable: {missed.calls:,} of its last {missed.of:,} calls, over {missed.minutes:,.0f} minutes, found "
            "it loaded on no replica or were answered by another version."
        )
        return Step(action=Action.ROLL_BACK, reason=reason)
    if findings.worse:
        return Step(action=Action.ROLL_BACK, reason=f"Shown worse{after}: {findings.worse}.")
    return None


def _wait(share: float, reason: str) -> Step:
    return Step(action=Action.WAIT, reason=reason, share=share)


def _deadline_reason(rule: CanaryRule, findings: Findings, approved: bool) -> str:
    limit = f"within {rule.deadline_hours:g} hours"
    if findings.not_worse and rule.approval and not approved:
        return f"Shown not worse, but nobody approved it {limit}."
    return f"Shown neither worse nor not worse {limit}: {findings.missing or 'too few requests'}."

"""The canary as a pure state machine: what is known about a live rollout goes in, the one next step comes out.

Harm goes first and needs no patience; a share only grows; the promotion needs every metric shown not worse, at the
last step, with the baseline still in production. What is not shown by the deadline is inconclusive, and goes back.
Nothing here reads a clock, a store or a server, so every decision can be made again from what the ledger kept.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from serving.policy import CanaryRule

MISSED_LEAST = 5
"""Calls that have not reached a candidate before it counts as gone: one or two are a replica that was restarted."""


class Move(Enum):
    """What a step does."""

    WAIT = "wait"
    WIDEN = "widen"
    PROMOTE = "promote"
    ROLL_BACK = "roll_back"
    GIVE_UP = "give_up"
    """Inconclusive: back to stable, and a person is told."""
    END_WATCH = "end_watch"


@dataclass(frozen=True, kw_only=True, slots=True)
class Exposure:
    """How much of the candidate was seen since its share was last widened."""

    requests: int
    users: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Missed:
    """The candidate's last calls, and how many of them did not reach it while the stable version answered."""

    calls: int
    """Those that did not."""
    of: int
    minutes: float
    """From the first that did not to the last."""

    def is_gone(self, rule: CanaryRule) -> bool:
        """Whether it is not there for most of its users, and for longer than ``rule`` bears with."""
        many = self.calls >= MISSED_LEAST and 2 * self.calls >= self.of
        return many and self.minutes >= rule.missing_minutes


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """What the evidence shows, in words where it shows something."""

    worse: str
    """The harm; empty where none is shown."""
    not_worse: bool
    """Every metric is shown to be within its margin."""
    missing: str
    """What is not shown yet."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """The next step and why, in a sentence."""

    move: Move
    reason: str
    share: float = 0.0
    """Of the users whom the candidate answers after it (0..1)."""


def next_step(
    rule: CanaryRule,
    *,
    share: float,
    began: datetime | None,
    now: datetime,
    exposure: Exposure,
    missed: Missed,
    shown: Shown,
    approved: bool,
    overtaken: str,
) -> Step:
    """The next step of an open rollout that its shadow has let through.

    Args:
        rule: steps, exposure, deadline, approval.
        share: the candidate's share now; 0 before its first user.
        began: when it met its first user; None before.
        now: the time of the look.
        exposure: since the share was last widened.
        missed: how many of its calls have not reached it lately.
        shown: what the evidence shows.
        approved: whether a person has agreed to the promotion.
        overtaken: why a promotion would be void; empty while the judged baseline is in production.
    """
    if overtaken:
        return Step(move=Move.GIVE_UP, reason=overtaken)
    if began is None:
        return Step(
            move=Move.WIDEN, reason=f"The shadow has passed: {rule.steps[0]:.0%} of the users.", share=rule.steps[0]
        )
    if missed.is_gone(rule):
        return Step(move=Move.ROLL_BACK, reason=_absent(missed))
    if shown.worse:
        return Step(move=Move.ROLL_BACK, reason=f"Shown worse: {shown.worse}.")
    if now - began > timedelta(hours=rule.deadline_hours):
        return Step(move=Move.GIVE_UP, reason=_too_late(rule, shown, approved))
    seen = f"{exposure.requests:,} requests of {exposure.users:,} users at {share:.0%}"
    if exposure.requests < rule.min_requests or exposure.users < rule.min_users:
        return _wait(share, f"{seen}, of {rule.min_requests:,} and {rule.min_users:,} that a step needs")
    wider = next((step for step in rule.steps if step > share), None)
    if wider:
        return Step(move=Move.WIDEN, reason=f"No harm shown on {seen}.", share=wider)
    if not shown.not_worse:
        return _wait(share, f"{seen}; {shown.missing}")
    if rule.approval and not approved:
        return _wait(share, "shown not worse; a person has to approve (fuelline approve MODEL@VERSION)")
    return Step(move=Move.PROMOTE, reason=f"Shown not worse than the margins, on {seen}.", share=1 - rule.soak_holdback)


def next_watch(rule: CanaryRule, *, until: datetime, now: datetime, missed: Missed, shown: Shown) -> Step:
    """The next step of the watch over a promoted version."""
    if missed.is_gone(rule):
        return Step(move=Move.ROLL_BACK, reason=_absent(missed))
    if shown.worse:
        return Step(move=Move.ROLL_BACK, reason=f"Shown worse after its promotion: {shown.worse}.")
    if now >= until:
        return Step(move=Move.END_WATCH, reason=f"Watched for {rule.soak_hours:g} hours, no harm shown.", share=1.0)
    return _wait(1 - rule.soak_holdback, f"watched until {until:%Y-%m-%d %H:%M} UTC; no harm shown")


def _absent(missed: Missed) -> str:
    return (
        f"Not there: {missed.calls:,} of its last {missed.of:,} calls, over {missed.minutes:,.0f} minutes, found it "
        "loaded nowhere or were answered by another version."
    )


def _wait(share: float, reason: str) -> Step:
    return Step(move=Move.WAIT, reason=reason, share=share)


def _too_late(rule: CanaryRule, shown: Shown, approved: bool) -> str:
    limit = f"within {rule.deadline_hours:g} hours"
    if shown.not_worse and rule.approval and not approved:
        return f"Shown not worse, but nobody approved it {limit}."
    return f"Shown neither worse nor not worse {limit}: {shown.missing or 'too few requests'}."

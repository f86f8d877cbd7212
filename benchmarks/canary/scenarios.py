"""Which rollouts are played, and what must not happen to them."""

from dataclasses import dataclass, field, replace
from typing import Literal

from benchmarks.canary.play import LOOK_EVERY
from benchmarks.canary.world import Also, World
from serving.policy import CanaryRule

Truth = Literal["equal", "margin", "within", "worse", "better"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Scenario:
    """One kind of rollout."""

    name: str
    truth: Truth
    """``equal`` must not be rolled back, ``margin`` (worse by the margin or more) not promoted."""
    world: World
    rule: CanaryRule = field(default_factory=CanaryRule)
    every: int = LOOK_EVERY
    """Requests from one look to the next."""


LIKE = World(rate=0.05)
HEAVY = World(rate=0.05, tail=1.2, intraclass_correlation=0.1)
FEW = World(rate=0.05, users=100, tail=1.2, requests=6_000)
RESTLESS = World(rate=0.05, effect="added", daily=True, outage=True, trend=2.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """Users, traffic and a margin that could be asked of them."""

    name: str
    world: World
    margin: float
    min_users: int = 20

    @property
    def rule(self) -> CanaryRule:
        """With this margin for errors; the other metrics have no rows."""
        return CanaryRule(error_margin=self.margin, min_users=self.min_users)


KINDS = [
    Kind(name="2% bad", world=replace(LIKE, rate=0.02), margin=0.02),
    Kind(name="5% bad", world=LIKE, margin=0.03),
    Kind(name="10% bad", world=replace(LIKE, rate=0.10), margin=0.05),
    Kind(name="5% bad, users of one rate", world=replace(LIKE, users=800, intraclass_correlation=0.0), margin=0.03),
    Kind(name="daily cycle, outage, rising trend", world=RESTLESS, margin=0.03),
    Kind(name="a few ask most, very unlike", world=HEAVY, margin=0.05),
    Kind(name="the same, who fail more", world=replace(HEAVY, heavy_fail_more=True), margin=0.05),
    Kind(name="40 users", world=replace(LIKE, users=40, requests=6_000), margin=0.05, min_users=2),
    Kind(name="100 users, a few ask most", world=FEW, margin=0.05, min_users=5),
]


def scenarios() -> list[Scenario]:
    """All of them."""
    return [*_equal(), *_margin(), *_harm(), *_other()]


def _equal() -> list[Scenario]:
    single = [Scenario(name=one.name, truth="equal", world=one.world, rule=one.rule) for one in KINDS]
    also = (Also(rate=0.05), Also(rate=0.2, outcomes=0.1))
    three = Scenario(
        name="three metrics (5% errors, 5% slow, a tenth rated)",
        truth="equal",
        world=replace(LIKE, also=also),
        rule=CanaryRule(error_margin=0.03, slow_margin=0.03, thumbs_down_margin=1.0),
    )
    return [*single, three]


def _margin() -> list[Scenario]:
    worst = [
        Scenario(
            name=f"{one.name}, margin {one.margin:.0%}",
            truth="margin",
            world=replace(one.world, excess=one.margin),
            rule=one.rule,
        )
        for one in KINDS
    ]
    rule = CanaryRule(error_margin=0.03)
    more = [
        ("0.5% bad, margin 2%", replace(LIKE, rate=0.005, excess=0.02), CanaryRule()),
        ("5% bad, margin 3% added to everybody", replace(LIKE, excess=0.03, effect="added"), rule),
        ("5% bad, a fifth of the users bears the margin", replace(LIKE, excess=0.03, effect="concentrated"), rule),
        ("5% bad, 1.5 times the margin", replace(LIKE, excess=0.045), rule),
    ]
    return [
        *worst,
        *(Scenario(name=name, truth="margin", world=world, rule=own) for name, world, own in more),
    ]


def _harm() -> list[Scenario]:
    worlds = [
        ("users of one rate", 800, 0.0),
        ("1,000 users, alike 0.02", 1_000, 0.02),
        ("300 users, alike 0.02", 300, 0.02),
    ]
    until_deadline = [
        Scenario(
            name=f"{rate:.0%} bad {what}, {like}",
            truth="worse",
            world=World(rate=rate, excess=rate * (times - 1), users=users, intraclass_correlation=alike),
        )
        for like, users, alike in worlds
        for what, times in (("doubled", 2), ("tripled", 3))
        for rate in (0.02, 0.05, 0.10)
    ]
    # Those whom 10,000 requests leave undecided too often, with a later deadline.
    later = [
        replace(one, name=f"{one.name}, 30,000 requests", world=replace(one.world, requests=30_000))
        for one in until_deadline
        if "doubled" in one.name and (one.world.rate == 0.02 or one.world.users == 300)
    ]
    return [*until_deadline, *later]


def _other() -> list[Scenario]:
    rule = CanaryRule(error_margin=0.03)
    every_request = World(rate=0.10, users=100, intraclass_correlation=0.05, requests=2_000)
    own = CanaryRule(error_margin=0.10, min_users=5)
    return [
        Scenario(name="looked at after every request", truth="equal", world=every_request, rule=own, every=1),
        Scenario(
            name="looked at after every request, margin 10%",
            truth="margin",
            world=replace(every_request, excess=0.10),
            rule=own,
            every=1,
        ),
        Scenario(name="5% bad, halved", truth="better", world=replace(LIKE, excess=-0.025), rule=rule),
        Scenario(name="5% bad, half the margin", truth="within", world=replace(LIKE, excess=0.015), rule=rule),
    ]

"""The simulated kinds of rollouts, and which end must be rare."""

from dataclasses import dataclass, field, replace
from typing import Literal

from benchmarks.canary.simulation import REQUESTS_PER_ANALYSIS
from benchmarks.canary.traffic import EqualMetric, TrafficModel
from serving.policy import CanaryRule

Truth = Literal["equal", "margin", "within", "worse", "better"]


@dataclass(frozen=True, kw_only=True, slots=True)
class RolloutScenario:
    """One kind of rollout."""

    name: str
    truth: Truth
    """``equal`` must not be rolled back, ``margin`` (worse by the margin or more) not promoted."""
    model: TrafficModel
    rule: CanaryRule = field(default_factory=CanaryRule)
    every: int = REQUESTS_PER_ANALYSIS
    """Requests from one interim analysis to the next."""


BASE = TrafficModel(rate=0.05)
ONE_RATE = TrafficModel(rate=0.05, users=800, intraclass_correlation=0.0)
HEAVY_TAILED = TrafficModel(rate=0.05, tail=1.2, intraclass_correlation=0.1)
FEW_USERS = TrafficModel(rate=0.05, users=100, tail=1.2, requests=6_000)
VARYING = TrafficModel(rate=0.05, effect="added", daily=True, outage=True, trend=2.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Population:
    """Users, traffic and a margin for them. Names are part of the seeds: a new name gives other numbers."""

    name: str
    model: TrafficModel
    margin: float
    min_users: int = 20

    @property
    def rule(self) -> CanaryRule:
        """With this margin for errors; the other metrics have no rows."""
        return CanaryRule(error_margin=self.margin, min_users=self.min_users)


POPULATIONS = [
    Population(name="2% bad", model=replace(BASE, rate=0.02), margin=0.02),
    Population(name="5% bad", model=BASE, margin=0.03),
    Population(name="10% bad", model=replace(BASE, rate=0.10), margin=0.05),
    Population(name="5% bad, users of one rate", model=ONE_RATE, margin=0.03),
    Population(name="daily cycle, outage, rising trend", model=VARYING, margin=0.03),
    Population(name="a few ask most, very unlike", model=HEAVY_TAILED, margin=0.05),
    Population(name="the same, who fail more", model=replace(HEAVY_TAILED, heavy_users_fail_more=True), margin=0.05),
    Population(name="40 users", model=replace(BASE, users=40, requests=6_000), margin=0.05, min_users=2),
    Population(name="100 users, a few ask most", model=FEW_USERS, margin=0.05, min_users=5),
]


def scenarios() -> list[RolloutScenario]:
    """All scenarios."""
    return [*_equal(), *_margin(), *_harm(), *_other()]


def _equal() -> list[RolloutScenario]:
    single = [RolloutScenario(name=kind.name, truth="equal", model=kind.model, rule=kind.rule) for kind in POPULATIONS]
    further = (EqualMetric(rate=0.05), EqualMetric(rate=0.2, outcomes=0.1))
    three = RolloutScenario(
        name="three metrics (5% errors, 5% slow, a tenth rated)",
        truth="equal",
        model=replace(BASE, equal_metrics=further),
        rule=CanaryRule(error_margin=0.03, slow_margin=0.03, thumbs_down_margin=1.0),
    )
    return [*single, three]


def _margin() -> list[RolloutScenario]:
    worst = [
        RolloutScenario(
            name=f"{population.name}, margin {population.margin:.0%}",
            truth="margin",
            model=replace(population.model, excess=population.margin),
            rule=population.rule,
        )
        for population in POPULATIONS
    ]
    rule = CanaryRule(error_margin=0.03)
    more = [
        ("0.5% bad, margin 2%", replace(BASE, rate=0.005, excess=0.02), CanaryRule()),
        ("5% bad, margin 3% added to everybody", replace(BASE, excess=0.03, effect="added"), rule),
        ("5% bad, a fifth of the users bears the margin", replace(BASE, excess=0.03, effect="concentrated"), rule),
        ("5% bad, 1.5 times the margin", replace(BASE, excess=0.045), rule),
    ]
    return [
        *worst,
        *(RolloutScenario(name=name, truth="margin", model=model, rule=rule) for name, model, rule in more),
    ]


def _harm() -> list[RolloutScenario]:
    populations = [
        ("users of one rate", 800, 0.0),
        ("1,000 users, alike 0.02", 1_000, 0.02),
        ("300 users, alike 0.02", 300, 0.02),
    ]
    until_deadline = [
        RolloutScenario(
            name=f"{rate:.0%} bad {what}, {label}",
            truth="worse",
            model=TrafficModel(rate=rate, excess=rate * (times - 1), users=users, intraclass_correlation=correlation),
        )
        for label, users, correlation in populations
        for what, times in (("doubled", 2), ("tripled", 3))
        for rate in (0.02, 0.05, 0.10)
    ]
    # Those that 10,000 requests leave undecided too often, with a later deadline.
    later = [
        replace(scenario, name=f"{scenario.name}, 30,000 requests", model=replace(scenario.model, requests=30_000))
        for scenario in until_deadline
        if "doubled" in scenario.name and (scenario.model.rate == 0.02 or scenario.model.users == 300)
    ]
    return [*until_deadline, *later]


def _other() -> list[RolloutScenario]:
    rule = CanaryRule(error_margin=0.03)
    every_request = TrafficModel(rate=0.10, users=100, intraclass_correlation=0.05, requests=2_000)
    wide = CanaryRule(error_margin=0.10, min_users=5)
    return [
        RolloutScenario(name="looked at after every request", truth="equal", model=every_request, rule=wide, every=1),
        RolloutScenario(
            name="looked at after every request, margin 10%",
            truth="margin",
            model=replace(every_request, excess=0.10),
            rule=wide,
            every=1,
        ),
        RolloutScenario(name="5% bad, halved", truth="better", model=replace(BASE, excess=-0.025), rule=rule),
        RolloutScenario(name="5% bad, half the margin", truth="within", model=replace(BASE, excess=0.015), rule=rule),
    ]

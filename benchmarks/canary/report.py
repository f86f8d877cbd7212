"""How the simulated rollouts ended, and whether the stated bounds hold."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.canary.fixed_size import requests_needed
from benchmarks.canary.scenarios import RolloutScenario
from benchmarks.canary.simulation import End, SimulatedRollout
from benchmarks.simulation.report import table

BOUND = 0.01
MAX_RATIO = 0.5
MIN_POWER_FOR_RATIO = 0.99
"""Half the requests is claimed only where few rollouts reach their deadline; a test with less power is smaller."""
WRONG: dict[str, End] = {
    "equal": "rolled_back",
    "better": "rolled_back",
    "margin": "promoted",
    "worse": "promoted",
}
ENDS: tuple[End, ...] = ("promoted", "rolled_back", "inconclusive")
MAX_POWER = 0.9995
"""A simulated power of 1 is compared at this power: no test of a fixed size has power 1."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ScenarioResult:
    """The rollouts of one scenario."""

    scenario: RolloutScenario
    rollouts: list[SimulatedRollout]

    def share(self, end: End) -> float:
        """Share of the rollouts with this end."""
        return self.count(end) / len(self.rollouts)

    def count(self, end: End) -> int:
        """Rollouts with this end."""
        return sum(rollout.end == end for rollout in self.rollouts)

    def median(self, end: End) -> float:
        """Median requests of both arms until this end; NaN where no rollout has it."""
        taken = [rollout.requests for rollout in self.rollouts if rollout.end == end]
        return float(np.median(taken)) if taken else math.nan

    @property
    def wrong(self) -> End | None:
        """The end that must be rare."""
        return WRONG.get(self.scenario.truth)

    @property
    def right(self) -> End:
        """The correct end."""
        return "rolled_back" if self.scenario.truth == "worse" else "promoted"

    def fixed_size(self, power: float) -> float:
        """Requests that a fixed-size test with this power needs, for the same users."""
        widened = float(np.median([rollout.widened for rollout in self.rollouts]))
        return requests_needed(self.scenario, min(power, MAX_POWER), widened)

    @property
    def ratio(self) -> float:
        """Median requests divided by those of a fixed size with the observed power."""
        return self.median(self.right) / self.fixed_size(self.share(self.right))


def wilson(count: int, of: int, z: float = 1.96) -> tuple[float, float]:
    """95% interval of a share (Wilson 1927)."""
    share, scale = count / of, 1 + z * z / of
    middle = (share + z * z / (2 * of)) / scale
    half = z * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of)) / scale
    return max(0.0, middle - half), min(1.0, middle + half)


def ends_table(results: Sequence[ScenarioResult]) -> str:
    """A row a scenario: how its rollouts ended."""
    header = (
        "Truth",
        "Scenario",
        "Rollouts",
        "Promoted",
        "Rolled back",
        "Inconclusive",
        "Wrong, 95% interval",
        "Median",
    )
    return table(header, [_ends(result) for result in results])


def _ends(result: ScenarioResult) -> tuple[str, ...]:
    wrong = ""
    if result.wrong:
        low, high = wilson(result.count(result.wrong), len(result.rollouts))
        wrong = f"{result.share(result.wrong):.2%} ({low:.2%} to {high:.2%})"
    parts = (f"{result.share(end):.1%}" for end in ENDS)
    truth = {"margin": "at the margin or worse"}.get(result.scenario.truth, result.scenario.truth)
    name, count = result.scenario.name, f"{len(result.rollouts):,}"
    return (truth, name, count, *parts, wrong, _number(result.median(result.right)))


def sizes_table(results: Sequence[ScenarioResult]) -> str:
    """Requests of a decision and of a fixed size, at the observed power and at the lower end of its interval."""
    header = ("Scenario", "Power", "Median", "Fixed size", "Ratio", "Power at least", "Fixed size", "Ratio")
    return table(header, [_sizes(result) for result in results if result.scenario.truth == "worse"])


def _sizes(result: ScenarioResult) -> tuple[str, ...]:
    seen, median = result.share(result.right), result.median(result.right)
    least, _ = wilson(result.count(result.right), len(result.rollouts))
    cells = [result.scenario.name, f"{seen:.1%}", _number(median)]
    for power, shown in ((seen, ""), (least, f"{least:.1%}")):
        size = result.fixed_size(power)
        cells += [*([shown] if shown else []), _number(size), f"{median / size:.2f}"]
    return tuple(cells)


def bounds(results: Sequence[ScenarioResult]) -> list[tuple[str, bool]]:
    """Every stated bound, and whether it is shown: a probability by the upper end of its interval."""
    checked = []
    for result in results:
        scenario, right = result.scenario, result.share(result.right)
        if result.wrong:
            _, most = wilson(result.count(result.wrong), len(result.rollouts))
            wrong = f"{scenario.truth}, {scenario.name}: {result.share(result.wrong):.2%}, at most {most:.2%}"
            checked.append((wrong, most <= BOUND))
        if scenario.truth == "worse" and "doubled" in scenario.name and right >= MIN_POWER_FOR_RATIO:
            size = f"{scenario.name}: median {result.ratio:.2f} of the fixed size"
            checked.append((size, result.ratio <= MAX_RATIO))
    return checked


def _number(value: float) -> str:
    return f"{value:,.0f}" if math.isfinite(value) else "none"

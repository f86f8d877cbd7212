"""What came of the rollouts, and whether the promised bounds hold."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.canary.fixed import requests_needed
from benchmarks.canary.play import End, Ended
from benchmarks.canary.scenarios import Scenario
from benchmarks.simulation.report import table

BOUND = 0.01
HALF = 0.5
POWER_PROMISED = 0.99
"""Half the requests is promised where hardly any rollout runs into its deadline; a test with less power is smaller."""
WRONG: dict[str, End] = {
    "equal": "rolled_back",
    "better": "rolled_back",
    "margin": "promoted",
    "worse": "promoted",
}
ENDS: tuple[End, ...] = ("promoted", "rolled_back", "inconclusive")
POWERS_AT = 0.9995
"""A simulated power of 1 is compared at this: no test of a fixed size has power 1."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tally:
    """One scenario, played many times."""

    scenario: Scenario
    ended: list[Ended]

    def part(self, end: End) -> float:
        """Share of the rollouts that ended so."""
        return self.count(end) / len(self.ended)

    def count(self, end: End) -> int:
        """Rollouts that ended so."""
        return sum(one.end == end for one in self.ended)

    def median(self, end: End) -> float:
        """Requests of both arms until then; NaN where none ended so."""
        taken = [one.requests for one in self.ended if one.end == end]
        return float(np.median(taken)) if taken else math.nan

    @property
    def wrong(self) -> End | None:
        """What must hardly ever happen."""
        return WRONG.get(self.scenario.truth)

    @property
    def right(self) -> End:
        """What a good end is."""
        return "rolled_back" if self.scenario.truth == "worse" else "promoted"

    def fixed(self, power: float) -> float:
        """Requests of a fixed-size test with this power, for the same users."""
        widened = float(np.median([one.widened for one in self.ended]))
        return requests_needed(self.scenario, min(power, POWERS_AT), widened)

    @property
    def ratio(self) -> float:
        """Median of the requests over those of a fixed size with the power that was seen."""
        return self.median(self.right) / self.fixed(self.part(self.right))


def wilson(count: int, of: int, z: float = 1.96) -> tuple[float, float]:
    """95% interval of a share (Wilson 1927)."""
    share, scale = count / of, 1 + z * z / of
    middle = (share + z * z / (2 * of)) / scale
    half = z * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of)) / scale
    return max(0.0, middle - half), min(1.0, middle + half)


def ends_table(tallies: Sequence[Tally]) -> str:
    """How the rollouts ended."""
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
    return table(header, [_ends(one) for one in tallies])


def _ends(one: Tally) -> tuple[str, ...]:
    wrong = ""
    if one.wrong:
        low, high = wilson(one.count(one.wrong), len(one.ended))
        wrong = f"{one.part(one.wrong):.2%} ({low:.2%} to {high:.2%})"
    parts = (f"{one.part(end):.1%}" for end in ENDS)
    truth = {"margin": "at the margin or worse"}.get(one.scenario.truth, one.scenario.truth)
    return (truth, one.scenario.name, f"{len(one.ended):,}", *parts, wrong, _number(one.median(one.right)))


def sizes_table(tallies: Sequence[Tally]) -> str:
    """Requests that a decision takes against those of a fixed size, with the power that was seen and one surely had."""
    header = ("Scenario", "Power", "Median", "Fixed size", "Ratio", "Power at least", "Fixed size", "Ratio")
    return table(header, [_sizes(one) for one in tallies if one.scenario.truth == "worse"])


def _sizes(one: Tally) -> tuple[str, ...]:
    seen, median = one.part(one.right), one.median(one.right)
    least, _ = wilson(one.count(one.right), len(one.ended))
    cells = [one.scenario.name, f"{seen:.1%}", _number(median)]
    for power, shown in ((seen, ""), (least, f"{least:.1%}")):
        fixed = one.fixed(power)
        cells += [*([shown] if shown else []), _number(fixed), f"{median / fixed:.2f}"]
    return tuple(cells)


def bars(tallies: Sequence[Tally]) -> list[tuple[str, bool]]:
    """Every promised bound, and whether it is shown: a chance by the upper end of its interval."""
    told = []
    for one in tallies:
        if one.wrong:
            _, most = wilson(one.count(one.wrong), len(one.ended))
            what = f"{one.scenario.truth}, {one.scenario.name}: {one.part(one.wrong):.2%}, at most {most:.2%}"
            told.append((what, most <= BOUND))
        if one.scenario.truth == "worse" and "doubled" in one.scenario.name and one.part(one.right) >= POWER_PROMISED:
            told.append((f"{one.scenario.name}: median {one.ratio:.2f} of the fixed size", one.ratio <= HALF))
    return told


def _number(value: float) -> str:
    return f"{value:,.0f}" if math.isfinite(value) else "none"

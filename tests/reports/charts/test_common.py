"""Charts: well-formed, escaped and reproducible."""

import math
from dataclasses import dataclass
from xml.etree import ElementTree

import numpy as np
import pytest

from reports.charts import common
from reports.common.html import note
from reports.common.palette import GREEN, RED

HOSTILE = "<script>alert('$x$')</script>"


@dataclass(frozen=True)
class Difference:
    slice: str
    difference: float
    low: float
    high: float


def every_chart(name: str) -> list[str]:
    differences = [Difference(name, -0.3, -0.4, -0.2), Difference("few", 0.1, -math.inf, math.inf)]
    return [
        common.bars([name, "other"], [3, 0], name, "lines"),
        common.loss_curve([1, 2, 3], [3.0, 2.0, 1.5], title=name),
        common.forest(differences, title=name),
        common.distributions({name: np.array([1.0, 2.0, np.nan]), "none": np.array([np.nan])}, name),
        common.flow({"landed": 10, "committed": 9, "quarantined": 1, "duplicates": 0}, name),
    ]


@pytest.mark.parametrize("chart", range(5))
def test_a_chart_is_well_formed_escaped_and_the_same_every_time(chart: int) -> None:
    drawn = every_chart(HOSTILE)[chart]
    assert "<script>" not in drawn
    assert ElementTree.fromstring(drawn).find(".//{http://www.w3.org/2000/svg}svg") is not None
    assert every_chart(HOSTILE)[chart] == drawn


def test_an_interval_without_bounds_says_so_and_a_bounded_one_has_its_colour() -> None:
    drawn = common.forest([Difference("good", -0.3, -0.4, -0.2), Difference("few", 0.1, -math.inf, math.inf)])
    assert "too few users" in drawn
    assert GREEN in drawn
    assert RED not in drawn
    assert RED in common.forest([Difference("bad", 0.3, 0.2, 0.4)])


def test_a_bar_chart_without_data_says_so() -> None:
    assert common.bars([], [], "Quarantined lines") == note("Quarantined lines: none.")


def test_the_smoothed_loss_begins_at_the_first_loss_and_follows_a_constant() -> None:
    assert common.exponential_mean([2.0, 2.0, 2.0]) == pytest.approx([2.0, 2.0, 2.0])
    assert common.exponential_mean([4.0, 1.0])[1] == pytest.approx((0.2 * 1 + 0.8 * 0.2 * 4) / (1 - 0.8**2))

"""Charts: well-formed, escaped and reproducible."""

import math
from xml.etree import ElementTree

import numpy as np
import pytest

from models.types import ScoreDifference
from reports.charts import common
from reports.common.html import note
from reports.common.palette import GREEN, RED

HOSTILE = "<script>alert('$x$')</script>"


def difference(name: str, value: float, low: float, high: float) -> ScoreDifference:
    scores = {"candidate": 2.0 + value, "baseline": 2.0, "difference": value, "low": low, "high": high}
    return ScoreDifference(slice=name, rows=10, users=3, **scores)


def every_chart(name: str) -> list[str]:
    differences = [difference(name, -0.3, -0.4, -0.2), difference("few", 0.1, -math.inf, math.inf)]
    return [
        common.bars({name: 3, "other": 0}, name, "lines"),
        common.loss_curve([3.0, 2.0, 1.5]),
        common.forest(differences, title=name),
        common.distributions(
            {name: np.array([1.0, 2.0, np.nan]), "none": np.array([np.nan])}, name, {name: name, "none": ""}
        ),
        common.flow({"landed": 10, "committed": 9, "quarantined": 1, "duplicates": 0}),
    ]


@pytest.mark.parametrize("chart", range(5))
def test_a_chart_is_well_formed_escaped_and_the_same_every_time(chart: int) -> None:
    drawn = every_chart(HOSTILE)[chart]
    assert "<script>" not in drawn
    assert ElementTree.fromstring(drawn).find(".//{http://www.w3.org/2000/svg}svg") is not None
    assert every_chart(HOSTILE)[chart] == drawn


def test_an_interval_without_bounds_says_so_and_a_bounded_one_has_its_colour() -> None:
    drawn = common.forest([difference("good", -0.3, -0.4, -0.2), difference("few", 0.1, -math.inf, math.inf)])
    assert "too few users" in drawn
    assert GREEN in drawn
    assert RED not in drawn
    assert RED in common.forest([difference("bad", 0.3, 0.2, 0.4)])


def test_a_bar_chart_without_data_says_so() -> None:
    assert common.bars({}, "Quarantined lines", "lines") == note("Quarantined lines: none.")


def test_the_smoothed_loss_begins_at_the_first_loss_and_follows_a_constant() -> None:
    assert ">4.000<" in common.loss_curve([4.0])
    assert ">2.000<" in common.loss_curve([2.0, 2.0, 2.0])
    assert f">{(0.2 * 1 + 0.8 * 0.2 * 4) / (1 - 0.8**2):.3f}<" in common.loss_curve([4.0, 1.0])

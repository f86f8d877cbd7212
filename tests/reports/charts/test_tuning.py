"""The charts of a search over hyperparameters."""

from xml.etree import ElementTree

import pytest

from reports.charts.tuning import TrialCurve, loss_curves, parameters
from reports.common.palette import BLUE, ORANGE, RED

HOSTILE = "<script>alert('$x$')</script>"


def course(role: str, losses: list[float], rate: float = 1e-3) -> TrialCurve:
    steps = [4 * (i + 1) for i in range(len(losses))]
    return TrialCurve(role=role, steps=steps, losses=losses, values={HOSTILE: rate, "rank": 8})


TRIALS = [
    course("start", [3.0, 2.5]),
    course("winner", [2.5, 2.0], 2e-2),
    course("pruned", [4.0], 1e-4),
    course("diverged", [], 1.0),
]


@pytest.mark.parametrize("chart", [loss_curves, lambda trials: parameters(trials, logs=(HOSTILE,))])
def test_a_chart_is_well_formed_escaped_and_the_same_every_time(chart) -> None:  # type: ignore[no-untyped-def]
    drawn = chart(TRIALS)
    assert "<script>" not in drawn
    assert "mathdefault" not in drawn
    assert ElementTree.fromstring(drawn).find(".//{http://www.w3.org/2000/svg}svg") is not None
    assert chart(TRIALS) == drawn


def test_start_and_winner_show_their_last_loss_and_a_role_its_colour() -> None:
    drawn = loss_curves(TRIALS)
    assert ">2.000<" in drawn
    assert ">2.500<" in drawn
    assert ">4.000<" not in drawn
    assert BLUE in drawn
    assert ORANGE in drawn
    assert RED not in drawn  # a trial without any loss has no line

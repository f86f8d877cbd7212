"""Charts of a canary: both arms' bad rates over time, and the evidence as it grows towards a decision."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reports.charts.style import bare, blank, drawn, grid, styled
from reports.common.palette import BLUE, GREEN, GREY, INK, ORANGE

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, kw_only=True, slots=True)
class ArmLines:
    """One metric over time; all sequences are as long as ``hours``."""

    title: str
    hours: Sequence[float]
    candidate: Sequence[float]
    stable: Sequence[float]
    """Bad rates, 0 to 1; NaN where there was no request yet."""
    harm: Sequence[float]
    safety: Sequence[float]
    """Evidence as a share of what is needed for a decision, 0 to 1; NaN where the metric has no such test."""


@styled
def arms(metrics: Sequence[ArmLines], steps: Sequence[tuple[float, str]], title: str) -> str:
    """One column for each metric, rates above and evidence below; ``steps`` (hour, name) are marked in every panel."""
    figure = blank(4.4)
    panels = figure.subplots(2, len(metrics), sharex=True, sharey="row", squeeze=False)
    for (upper, lower), metric in zip(panels.T, metrics, strict=True):
        _lines(upper, metric.hours, (("stable", metric.stable, BLUE), ("candidate", metric.candidate, ORANGE)))
        _lines(lower, metric.hours, (("not worse", metric.safety, GREEN), ("worse", metric.harm, ORANGE)))
        lower.axhline(1.0, color=INK, linewidth=0.9, linestyle="--")
        lower.set_ylim(-0.03, 1.12)
        upper.set_title(metric.title, fontsize=10.5, loc="left", color=INK)
        lower.set_xlabel("hours since the first user")
        for hour, name in steps:
            for panel in (upper, lower):
                panel.axvline(hour, color=GREY, linewidth=0.8, linestyle=":")
            place = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points"}
            upper.annotate(name, (hour, 1), (2, -9), **place, fontsize=8.5, color=GREY)
    panels[0][0].set_ylabel("share of bad answers")
    panels[1][0].set_ylabel("evidence; 1 decides")
    panels[0][0].yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    for row in panels:
        row[0].legend(frameon=False, fontsize=9, loc="center right", handlelength=1.2)
    return drawn(figure, title)


def _lines(panel: "Axes", hours: Sequence[float], lines: Sequence[tuple[str, Sequence[float], str]]) -> None:
    for name, values, color in lines:
        panel.plot(hours, values, color=color, linewidth=1.8, label=name)
    grid(panel, "y")
    bare(panel, "bottom")

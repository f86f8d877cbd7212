"""Charts of a canary: both arms' bad rates over time, and the evidence as it grows towards a decision."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from reports.charts.style import bare, blank, drawn, grid, styled
from reports.common.palette import BLUE, GREEN, GREY, INK, ORANGE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from serving.rollout.timeline import MetricPoint

UPPER = {"stable": ("stable", BLUE), "candidate": ("candidate", ORANGE)}
LOWER = {"safety": ("not worse", GREEN), "harm": ("worse", ORANGE)}
"""Name and colour of each field of a point that a panel shows."""


@styled
def arms(metrics: "Mapping[str, Sequence[MetricPoint]]", steps: Sequence[tuple[float, str]], title: str) -> str:
    """One column for each metric, rates above and evidence below; ``steps`` (hour, name) are marked in every panel."""
    figure = blank(4.4)
    panels = figure.subplots(2, len(metrics), sharex=True, sharey="row", squeeze=False)
    for (upper, lower), (metric, points) in zip(panels.T, metrics.items(), strict=True):
        _lines(upper, points, UPPER)
        _lines(lower, points, LOWER)
        lower.axhline(1.0, color=INK, linewidth=0.9, linestyle="--")
        lower.set_ylim(-0.03, 1.12)
        upper.set_title(metric, fontsize=10.5, loc="left", color=INK)
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


def _lines(panel: "Axes", points: "Sequence[MetricPoint]", lines: Mapping[str, tuple[str, str]]) -> None:
    hours = [point.hours for point in points]
    for field, (name, color) in lines.items():
        panel.plot(hours, [getattr(point, field) for point in points], color=color, linewidth=1.8, label=name)
    grid(panel, "y")
    bare(panel, "bottom")

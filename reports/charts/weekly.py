"""Charts of one week beside the week before."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reports.charts.style import bare, blank, drawn, grid, styled
from reports.common.html import shown
from reports.common.palette import BLUE, GREEN, GREY, INK, MUTED, ORANGE, RED

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
SHADES = (BLUE, ORANGE, "#56b4e9", GREEN, "#cc79a7", "#f0e442", RED)
"""Okabe and Ito's; with more than seven parts the first ones are used again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One measure by name, in the week before and in this week; None where there was nothing to measure."""

    title: str
    """With its unit."""
    pairs: Mapping[str, tuple[float | None, float | None]]
    less_is_better: bool


@styled
def daily_stack(parts: Mapping[str, Sequence[int]], before: Sequence[int], title: str) -> str:
    """A column for each day from Monday on, stacked by ``parts``; a line marks the same day of the week before."""
    figure = blank(3.1)
    axes = figure.subplots()
    tops = [0] * len(DAYS)
    for place, (name, counts) in enumerate(parts.items()):
        axes.bar(DAYS, counts, 0.62, bottom=tops, color=SHADES[place % len(SHADES)], label=name)
        tops = [top + count for top, count in zip(tops, counts, strict=True)]
    axes.hlines(before, [x - 0.38 for x in range(7)], [x + 0.38 for x in range(7)], color=INK, linewidth=1.4)
    axes.plot([], [], color=INK, linewidth=1.4, label="week before")
    for place, count in enumerate(tops):
        axes.annotate(f"{count:,}", (place, max(count, before[place])), (0, 4), textcoords="offset points", ha="center")
    figure.legend(loc="outside upper left", ncols=len(parts) + 1, frameon=False, fontsize=10, handlelength=1.1)
    axes.set_yticks([])
    axes.margins(y=0.14)
    bare(axes, "bottom")
    return drawn(figure, title)


@styled
def changes(measures: Sequence[Change], title: str) -> str:
    """A panel for each measure, with a hollow dot for the week before and a full one for this week for each name.

    Green is better, orange is worse, grey is unchanged or has no comparison.
    """
    names = list(measures[0].pairs)
    figure = blank(0.95 + 0.4 * len(names))
    panels = figure.subplots(1, len(measures), sharey=True, squeeze=False)[0]
    for panel, measure in zip(panels, measures, strict=True):
        for place, name in enumerate(names):
            _pair(panel, place, measure, *measure.pairs[name])
        panel.set_title(measure.title, fontsize=10.5, loc="left", color=INK)
        panel.set_ylim(len(names) - 0.4, -0.6)
        panel.margins(x=0.25)
        panel.locator_params(axis="x", nbins=4)
        panel.tick_params(axis="x", labelsize=9)
        grid(panel, "x")
    panels[0].set_yticks(range(len(names)), labels=names)
    return drawn(figure, title)


def _pair(panel: "Axes", place: int, measure: Change, before: float | None, now: float | None) -> None:
    if now is None:
        return
    color = GREY
    if before is not None:
        if now != before:
            color = GREEN if (now < before) == measure.less_is_better else RED
        panel.plot([before, now], [place, place], color=color, linewidth=2.5, alpha=0.55)
        panel.plot([before], [place], "o", color="white", markeredgecolor=color, markersize=7)
    panel.plot([now], [place], "o", color=color, markersize=8)
    text = shown(round(now, 2))
    panel.annotate(text, (now, place), (0, 7), textcoords="offset points", ha="center", fontsize=9, color=MUTED)

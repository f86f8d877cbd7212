"""Charts for decks and reports: HTML figures without scripts or loaded files.

Every function takes aggregates, never rows, and escapes its texts.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from reports.charts.style import bare, blank, drawn, grid, step_axis, styled
from reports.common.html import note, shown
from reports.common.ledger_text import UNIT
from reports.common.palette import BLUE, GREEN, GREY, INK, MUTED, RED

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from models.types import ScoreDifference


@styled
def bars(values: Mapping[str, float], title: str, unit: str, color: str = BLUE) -> str:
    """Horizontal bars in the given order, each with its value."""
    if not values:
        return note(f"{title}: none.")
    figure = blank(0.5 + 0.34 * len(values))
    axes = figure.subplots()
    places = range(len(values))
    largest = max([*values.values(), 0]) or 1
    axes.barh(places, list(values.values()), height=0.62, color=color)
    for place, value in enumerate(values.values()):
        axes.text(value + largest * 0.012, place, f"{shown(value)} {unit}", va="center", color=MUTED, fontsize=10)
    axes.set_yticks(places, labels=list(values))
    axes.set_xlim(0, largest * 1.22)
    axes.invert_yaxis()
    axes.set_xticks([])
    bare(axes, "left")
    return drawn(figure, title)


@styled
def loss_curve(losses: Sequence[float]) -> str:
    """Loss over steps: the values faint, and strong their exponential mean.

    The mean is corrected for its start as Adam's moments are (Kingma and Ba 2015, section 3).
    """
    import pandas as pd

    figure = blank(3.0)
    axes = figure.subplots()
    steps, means = range(1, len(losses) + 1), pd.Series(losses, dtype=float).ewm(alpha=0.2).mean().to_list()
    axes.plot(steps, losses, color=BLUE, alpha=0.28, linewidth=1.2)
    axes.plot(steps, means, color=BLUE, linewidth=2.2)
    for step, mean in zip(steps[-1:], means[-1:], strict=True):
        axes.plot([step], [mean], "o", color=BLUE, markersize=5)
        axes.annotate(f"{mean:.3f}", (step, mean), (7, 0), textcoords="offset points", va="center")
    step_axis(axes)
    return drawn(figure, "Training loss")


@styled
def forest(slices: "Sequence[ScoreDifference]", title: str = "Score difference, candidate minus baseline") -> str:
    """One line for each slice: the difference with its interval around a zero line; left is better.

    Green is better and red is worse beyond the interval, grey is neither. An interval without bounds is labelled so.
    Zero is in view, so that no interval looks larger than it is.
    """
    figure = blank(0.95 + 0.42 * max(1, len(slices)))
    axes = figure.subplots()
    ends = [0.0]
    for place, part in enumerate(slices):
        bounded = math.isfinite(part.low) and math.isfinite(part.high)
        color = GREEN if bounded and part.high < 0 else RED if bounded and part.low > 0 else GREY
        if bounded:
            axes.plot([part.low, part.high], [place, place], color=color, linewidth=3, solid_capstyle="round")
        axes.plot([part.difference], [place], "o", color=color, markersize=8, markeredgecolor="white")
        interval = f"[{part.low:+.3f}, {part.high:+.3f}]" if bounded else "too few users"
        text = f"{part.difference:+.3f}  {interval}"
        axes.text(1.02, place, text, transform=axes.get_yaxis_transform(), va="center", fontsize=9.5)
        ends += filter(math.isfinite, (part.difference, part.low, part.high))
    axes.axvline(0, color=INK, linewidth=1)
    axes.set_yticks(range(len(slices)), labels=[part.slice for part in slices])
    axes.set_ylim(len(slices) - 0.4, -0.6)
    low, high = min(ends), max(ends)
    margin = (high - low or 1.0) * 0.08
    axes.set_xlim(low - margin, max(high, (high - low) * 0.12) + margin)
    axes.set_xlabel(f"← better · {UNIT} · worse →")
    grid(axes, "x")
    return drawn(figure, title)


@styled
def distributions(columns: Mapping[str, "np.ndarray[Any, Any]"], title: str, units: Mapping[str, str]) -> str:
    """A small histogram for each column, three in a row; missing values are left out and counted."""
    down = max(1, math.ceil(len(columns) / 3))
    figure = blank(1.8 * down + 0.1)
    figure.get_layout_engine().set(hspace=0.12)  # type: ignore[union-attr, call-arg]
    panels = list(figure.subplots(down, 3, squeeze=False).flat)
    for axes, (name, values) in zip(panels, columns.items(), strict=False):
        _histogram(axes, name, np.asarray(values, dtype=np.float64), units[name])
    for axes in panels[len(columns) :]:
        axes.set_axis_off()
    return drawn(figure, title)


def _histogram(axes: "Axes", name: str, values: "np.ndarray[Any, Any]", unit: str) -> None:
    present = values[np.isfinite(values)]
    axes.set_title(name, fontsize=10, loc="left", color=INK)
    if present.size:
        axes.hist(present, bins=min(24, max(6, int(math.sqrt(present.size)))), color=BLUE, alpha=0.85)
    else:
        axes.text(0.5, 0.5, "no values", transform=axes.transAxes, ha="center", color=MUTED)
        axes.set_xticks([])
    missing = f"{values.size - present.size:,} missing" if present.size < values.size else ""
    axes.set_xlabel(", ".join(filter(None, (unit, missing))), fontsize=9)
    axes.set_yticks([])
    axes.tick_params(labelsize=8.5)
    axes.locator_params(axis="x", nbins=4)
    bare(axes, "bottom")


@styled
def flow(counts: Mapping[str, int]) -> str:
    """``landed`` on the left, split into the others on the right (``committed``, ``quarantined``, ``duplicates``).

    Bands have a least width, so that a few quarantined lines are visible; the numbers are exact.
    """
    shades = {"committed": GREEN, "quarantined": RED, "duplicates": GREY}
    parts = {name: count for name, count in counts.items() if name != "landed" and count}
    figure = blank(2.3)
    axes = figure.subplots()
    total = sum(parts.values()) or 1
    shares = {name: max(count / total, 0.035) for name, count in parts.items()}
    gap, left, right = 0.16, 1.0, 1.0 + 0.16 * (len(parts) - 1) / 2
    axes.fill_between([0, 0.02], 1 - sum(shares.values()), 1, color=INK, linewidth=0)
    axes.text(-0.02, 1 - sum(shares.values()) / 2, f"landed\n{counts['landed']:,}", ha="right", va="center")
    along = np.linspace(0, 1, 60)
    for name, share in shares.items():
        top = left + (right - left) * along**2 * (3 - 2 * along)
        axes.fill_between(0.02 + 0.98 * along, top - share, top, color=shades[name], alpha=0.75, linewidth=0)
        axes.text(1.02, right - share / 2, f"{name}  {parts[name]:,}", va="center")
        left, right = left - share, right - share - gap
    axes.set_xlim(-0.3, 1.55)
    axes.set_axis_off()
    return drawn(figure, "Result for the lines that landed")

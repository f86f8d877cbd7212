"""Charts for decks and reports: HTML figures without scripts or loaded files.

Every function takes aggregates, never rows, and escapes its texts.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from reports.charts.style import WIDTH, bare, canvas, drawn, grid, styled
from reports.common.html import note, shown
from reports.common.palette import BLUE, GREEN, GREY, INK, MUTED, RED

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Difference(Protocol):
    """A score difference and its interval, for example ``models.types.ScoreDifference``."""

    @property
    def slice(self) -> str: ...
    @property
    def difference(self) -> float: ...
    @property
    def low(self) -> float: ...
    @property
    def high(self) -> float: ...


@styled
def bars(
    labels: Sequence[str],
    values: Sequence[float],
    title: str,
    unit: str = "",
    colors: Sequence[str] | str = BLUE,
) -> str:
    """Horizontal bars in the given order, each with its value; ``colors`` is one for all or one for each bar."""
    if not labels:
        return note(f"{title}: none.")
    figure, axes = canvas(0.5 + 0.34 * max(1, len(labels)))
    places = range(len(labels))
    largest = max([*values, 0]) or 1
    shades = colors if isinstance(colors, str) else list(colors)
    axes.barh(places, values, height=0.62, color=shades)
    for place, value in zip(places, values, strict=True):
        axes.text(
            value + largest * 0.012, place, f"{shown(value)} {unit}".strip(), va="center", color=MUTED, fontsize=10
        )
    axes.set_yticks(places, labels=[str(label) for label in labels])
    axes.set_xlim(0, largest * 1.22)
    axes.invert_yaxis()
    axes.set_xticks([])
    bare(axes, "left")
    return drawn(figure, title)


@styled
def loss_curve(
    steps: Sequence[int],
    losses: Sequence[float],
    smoothed: Sequence[float] | None = None,
    title: str = "Training loss",
    unit: str = "nats per response token",
) -> str:
    """Loss over steps, the values faint and ``smoothed`` strong (default: an exponential mean of the losses)."""
    from matplotlib.ticker import MaxNLocator

    figure, axes = canvas(3.0)
    strong = list(smoothed) if smoothed is not None else exponential_mean(losses)
    axes.plot(steps, losses, color=BLUE, alpha=0.28, linewidth=1.2)
    axes.plot(steps, strong, color=BLUE, linewidth=2.2)
    if len(steps):
        axes.plot(steps[-1:], strong[-1:], "o", color=BLUE, markersize=5)
        axes.annotate(f"{strong[-1]:.3f}", (steps[-1], strong[-1]), (7, 0), textcoords="offset points", va="center")
    axes.set_xlabel("step")
    axes.set_ylabel(unit)
    axes.margins(x=0.06)
    axes.xaxis.set_major_locator(MaxNLocator(nbins="auto", integer=True))
    grid(axes, "y")
    return drawn(figure, title)


def exponential_mean(values: Sequence[float], weight: float = 0.2) -> list[float]:
    """Exponential moving mean, corrected for its start as Adam's moments are (Kingma and Ba 2015, section 3)."""
    means, total = [], 0.0
    for count, value in enumerate(values, start=1):
        total += weight * (value - total)
        means.append(total / (1 - (1 - weight) ** count))
    return means


@styled
def forest(
    slices: Sequence[Difference],
    title: str = "Score difference, candidate minus baseline",
    unit: str = "nats per response token",
) -> str:
    """One line for each slice: the difference with its interval around a zero line; left is better.

    Green is better and red is worse beyond the interval, grey is neither. An interval without bounds is labelled so.
    """
    figure, axes = canvas(0.95 + 0.42 * max(1, len(slices)))
    for place, part in enumerate(slices):
        bounded = math.isfinite(part.low) and math.isfinite(part.high)
        color = GREEN if bounded and part.high < 0 else RED if bounded and part.low > 0 else GREY
        if bounded:
            axes.plot([part.low, part.high], [place, place], color=color, linewidth=3, solid_capstyle="round")
        axes.plot([part.difference], [place], "o", color=color, markersize=8, markeredgecolor="white")
    axes.axvline(0, color=INK, linewidth=1)
    axes.set_yticks(range(len(slices)), labels=[str(part.slice) for part in slices])
    axes.set_ylim(len(slices) - 0.4, -0.6)
    _symmetric(axes, slices)
    for place, part in enumerate(slices):
        axes.text(1.02, place, _interval(part), transform=axes.get_yaxis_transform(), va="center", fontsize=9.5)
    axes.set_xlabel(f"← better · {unit} · worse →")
    grid(axes, "x")
    return drawn(figure, title)


def _symmetric(axes: "Axes", slices: Sequence[Difference]) -> None:
    """Limits of the axis with zero in view, so that no interval looks larger than it is."""
    bounds = [value for part in slices for value in (part.difference, part.low, part.high) if math.isfinite(value)]
    low, high = min([*bounds, 0.0]), max([*bounds, 0.0])
    margin = (high - low or 1.0) * 0.08
    axes.set_xlim(low - margin, max(high, (high - low) * 0.12) + margin)


def _interval(part: Difference) -> str:
    if not (math.isfinite(part.low) and math.isfinite(part.high)):
        return f"{part.difference:+.3f}  too few users"
    return f"{part.difference:+.3f}  [{part.low:+.3f}, {part.high:+.3f}]"


@styled
def distributions(
    columns: Mapping[str, "np.ndarray[Any, Any]"], title: str = "Distributions", units: Mapping[str, str] | None = None
) -> str:
    """A small histogram for each column, three in a row; missing values are left out and counted."""
    from matplotlib.figure import Figure

    across, units = 3, units or {}
    down = max(1, math.ceil(len(columns) / across))
    figure = Figure(figsize=(WIDTH, 1.8 * down + 0.1), layout="constrained")
    figure.get_layout_engine().set(hspace=0.12)  # type: ignore[union-attr, call-arg]
    grid = figure.subplots(down, across, squeeze=False)
    for axes, (name, values) in zip(grid.flat, columns.items(), strict=False):
        _histogram(axes, name, np.asarray(values, dtype=np.float64), units.get(name, ""))
    for axes in list(grid.flat)[len(columns) :]:
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
    axes.set_xlabel(", ".join(part for part in (unit, missing) if part), fontsize=9)
    axes.set_yticks([])
    axes.tick_params(labelsize=8.5)
    axes.locator_params(axis="x", nbins=4)
    bare(axes, "bottom")


@styled
def flow(counts: Mapping[str, int], title: str = "Result for the lines that landed") -> str:
    """``landed`` on the left, split into the others on the right (``committed``, ``quarantined``, ``duplicates``).

    Bands have a least width, so that a few quarantined lines are visible; the numbers are exact.
    """
    shades = {"committed": GREEN, "quarantined": RED, "duplicates": GREY}
    parts = {name: count for name, count in counts.items() if name != "landed" and count}
    figure, axes = canvas(2.3)
    total = sum(parts.values()) or 1
    shares = {name: max(count / total, 0.035) for name, count in parts.items()}
    gap, left, right = 0.16, 1.0, 1.0 + 0.16 * (len(parts) - 1) / 2
    axes.fill_between([0, 0.02], 1 - sum(shares.values()), 1, color=INK, linewidth=0)
    axes.text(-0.02, 1 - sum(shares.values()) / 2, f"landed\n{counts.get('landed', total):,}", ha="right", va="center")
    for name, share in shares.items():
        _band(axes, left, right, share, shades.get(name, BLUE))
        axes.text(1.02, right - share / 2, f"{name}  {parts[name]:,}", va="center")
        left, right = left - share, right - share - gap
    axes.set_xlim(-0.3, 1.55)
    axes.set_axis_off()
    return drawn(figure, title)


def _band(axes: "Axes", left: float, right: float, share: float, color: str) -> None:
    along = np.linspace(0, 1, 60)
    top = left + (right - left) * along**2 * (3 - 2 * along)
    axes.fill_between(0.02 + 0.98 * along, top - share, top, color=color, alpha=0.75, linewidth=0)

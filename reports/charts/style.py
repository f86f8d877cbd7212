"""The frame of every chart: one style, one size, an SVG that stands alone.

matplotlib is used through its object interface, so that nothing is global and nothing needs a display; the same numbers
give the same bytes. Text stays text, set in the reader's own system font.
"""

import functools
import html
import io
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ParamSpec

from reports.common.html import figure as figure_of
from reports.common.palette import FONT, GREY, INK, LINE, MUTED

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 7.4
"""Inches; a figure is drawn at 72 points an inch and scales down with its page."""

RC: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "fuelline",
    "text.parse_math": False,
    "font.size": 10.5,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": GREY,
    "axes.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": INK,
    "ytick.major.size": 0,
    "axes.spines.top": False,
    "axes.spines.right": False,
}

P = ParamSpec("P")


def styled(chart: Callable[P, str]) -> Callable[P, str]:
    """Draw under our style: matplotlib reads it when a thing is made, so the whole chart has to stand under it."""

    @functools.wraps(chart)
    def drawn(*arguments: P.args, **named: P.kwargs) -> str:
        import matplotlib as mpl

        with mpl.rc_context(RC):  # type: ignore[arg-type]
            return chart(*arguments, **named)

    return drawn


def canvas(height: float) -> "tuple[Figure, Axes]":
    """A figure of the page's width and this height in inches, and its one pair of axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    return figure, figure.subplots()


def bare(axes: "Axes", keep: str) -> None:
    """Leave one side of the frame, ``left`` or ``bottom``; any other word leaves none."""
    for side in {"left", "right", "top", "bottom"} - {keep}:
        axes.spines[side].set_visible(False)


def grid(axes: "Axes", axis: str) -> None:
    """Faint lines across ``x`` or ``y``, behind everything."""
    axes.set_axisbelow(True)
    axes.grid(axis=axis, color=LINE, linewidth=0.8)  # type: ignore[arg-type]
    bare(axes, "bottom" if axis == "y" else "none")


def drawn(figure: "Figure", title: str) -> str:
    """The figure as HTML: one SVG without ids that could clash with another's, and the title as its caption."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r' width="[\d.]+pt" height="[\d.]+pt"', "", svg, count=1)
    svg = re.sub(r"<metadata>.*?</metadata>\s*|<!--.*?-->\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*">', "<g>", svg).replace("'DejaVu Sans'", FONT)
    svg = "\n".join(stripped for line in svg.splitlines() if (stripped := line.strip()))
    svg = svg.replace("<svg", f'<svg role="img" aria-label="{html.escape(title)}"', 1)
    return figure_of(title, svg)

"""What all charts share: one style, one size, and the SVG.

matplotlib is used by its object interface, so that no state is global and no display is needed; the same numbers give
the same bytes. Text in the SVG stays text, in the reader's system font.
"""

import functools
import html
import io
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ParamSpec

from reports.common.html import figure as figure_of
from reports.common.ledger_text import UNIT
from reports.common.palette import FONT, GREY, INK, LINE, MUTED

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 7.4
"""Inches; a figure is drawn at 72 points per inch and scales down with its page."""
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
    """Draw in our style. matplotlib reads it when an object is made, so the whole chart is drawn within its context."""

    @functools.wraps(chart)
    def draw(*arguments: P.args, **named: P.kwargs) -> str:
        import matplotlib as mpl

        with mpl.rc_context(RC):  # type: ignore[arg-type]
            return chart(*arguments, **named)

    return draw


def blank(height: float) -> "Figure":
    """An empty figure of the page's width and this height (inches)."""
    from matplotlib.figure import Figure

    return Figure(figsize=(WIDTH, height), layout="constrained")


def bare(axes: "Axes", keep: str) -> None:
    """Keep only one side of the frame, ``left`` or ``bottom``; any other word keeps none."""
    for side in {"left", "right", "top", "bottom"} - {keep}:
        axes.spines[side].set_visible(False)


def grid(axes: "Axes", axis: str) -> None:
    """Faint lines across ``x`` or ``y``, behind everything."""
    axes.set_axisbelow(True)
    axes.grid(axis=axis, color=LINE, linewidth=0.8)  # type: ignore[arg-type]
    bare(axes, "bottom" if axis == "y" else "none")


def step_axis(axes: "Axes") -> None:
    """Whole steps of a training along, its loss up."""
    from matplotlib.ticker import MaxNLocator

    axes.set_xlabel("step")
    axes.set_ylabel(UNIT)
    axes.margins(x=0.06)
    axes.xaxis.set_major_locator(MaxNLocator(nbins="auto", integer=True))
    grid(axes, "y")


def drawn(figure: "Figure", title: str) -> str:
    """The figure as HTML: an SVG without ids, which could collide with another's, and the title as its caption."""
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

"""Charts of a search over hyperparameters: how each trial went, and what its parameters had to do with it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reports.charts.style import WIDTH, canvas, drawn, grid, styled
from reports.common.palette import BLUE, GREY, INK, ORANGE, RED

if TYPE_CHECKING:
    from matplotlib.axes import Axes

UNIT = "nats per response token"
SHADES = {"winner": BLUE, "start": INK, "complete": GREY, "pruned": ORANGE, "diverged": RED}
"""Colour of each role, in the order of the key."""
EARLY = ("pruned", "diverged")


@dataclass(frozen=True, kw_only=True, slots=True)
class Course:
    """One trial as a chart takes it."""

    name: str
    role: str
    """One of ``SHADES``."""
    steps: Sequence[int]
    losses: Sequence[float]
    """At each of ``steps``."""
    values: Mapping[str, float]
    """Its parameters by name."""

    @property
    def mark(self) -> str:
        """Of its end: a cross where it was ended early."""
        return "x" if self.role in EARLY else "o"


@styled
def courses(trials: Sequence[Course], title: str = "Validation loss on the way", unit: str = UNIT) -> str:
    """Loss over steps, a line a trial, of those that have a loss; start and winner stand out with their last one."""
    from matplotlib.ticker import MaxNLocator

    figure, axes = canvas(3.5)
    shown = _shown(trials)
    for one in shown:
        strong = one.role in ("winner", "start")
        axes.plot(one.steps, one.losses, color=SHADES[one.role], linewidth=2.4 if strong else 1.2)
        axes.plot(one.steps[-1:], one.losses[-1:], one.mark, color=SHADES[one.role], markersize=6)
        if strong:
            end = (one.steps[-1], one.losses[-1])
            behind = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.85}
            axes.annotate(f"{one.losses[-1]:.3f}", end, (8, 0), textcoords="offset points", va="center", bbox=behind)
    axes.set_xlabel("step")
    axes.set_ylabel(unit)
    axes.margins(x=0.06)
    axes.xaxis.set_major_locator(MaxNLocator(nbins="auto", integer=True))
    grid(axes, "y")
    _key(axes, shown)
    return drawn(figure, title)


@styled
def parameters(
    trials: Sequence[Course],
    title: str = "Parameters against the last loss",
    unit: str = UNIT,
    logs: Sequence[str] = (),
) -> str:
    """The last loss against each parameter, a panel each; the axes of the parameters in ``logs`` are logarithmic."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    shown = _shown(trials)
    names = list(trials[0].values)
    figure = Figure(figsize=(WIDTH, 2.5), layout="constrained")
    panels = list(figure.subplots(1, len(names), sharey=True, squeeze=False)[0])
    for axes, name in zip(panels, names, strict=True):
        for one in shown:
            axes.plot(one.values[name], one.losses[-1], one.mark, color=SHADES[one.role], markersize=7)
        if name in logs:
            tried = [one.values[name] for one in trials]
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1,) if max(tried) >= 30 * min(tried) else (1, 2, 5)))
            axes.xaxis.set_minor_locator(NullLocator())
        else:
            axes.set_xticks(sorted({one.values[name] for one in trials}))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.set_xlabel(name)
        axes.margins(x=0.12)
        grid(axes, "y")
    panels[0].set_ylabel(unit)
    return drawn(figure, title)


def _shown(trials: Sequence[Course]) -> list[Course]:
    """Those that have a loss, the ones that matter last, so that they are drawn over the others."""
    order = list(SHADES)
    return sorted((one for one in trials if one.losses), key=lambda one: -order.index(one.role))


def _key(axes: "Axes", shown: Sequence[Course]) -> None:
    from matplotlib.lines import Line2D

    marks = {one.role: one.mark for one in shown}
    handles = [
        Line2D([], [], color=shade, marker=marks[role], markersize=5, label=role)
        for role, shade in SHADES.items()
        if role in marks
    ]
    axes.legend(
        handles=handles, frameon=False, ncols=len(handles), loc="lower left", bbox_to_anchor=(0, 1), fontsize=9.5
    )

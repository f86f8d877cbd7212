"""Charts of a search over hyperparameters: the course of each trial, and its result by its parameters."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reports.charts.style import blank, drawn, grid, step_axis, styled
from reports.common.ledger_text import UNIT
from reports.common.palette import BLUE, GREY, INK, ORANGE, RED

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHADES = {"winner": BLUE, "start": INK, "complete": GREY, "pruned": ORANGE, "diverged": RED}
"""Colour of each role, in the order of the key."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialCurve:
    """One trial: its role, its loss curve and its parameters."""

    role: str
    """One of ``SHADES``."""
    steps: Sequence[int]
    losses: Sequence[float]
    """At each of ``steps``."""
    values: Mapping[str, float]
    """Its parameters by name."""

    @property
    def mark(self) -> str:
        """The marker of its end: a cross if it was stopped early."""
        return "x" if self.role in ("pruned", "diverged") else "o"


@styled
def loss_curves(trials: Sequence[TrialCurve]) -> str:
    """Loss over steps, a line for each trial with a loss; start and winner are stronger, with their last value."""
    figure = blank(3.5)
    axes = figure.subplots()
    shown = _shown(trials)
    for trial in shown:
        strong = trial.role in ("winner", "start")
        axes.plot(trial.steps, trial.losses, color=SHADES[trial.role], linewidth=2.4 if strong else 1.2)
        axes.plot(trial.steps[-1:], trial.losses[-1:], trial.mark, color=SHADES[trial.role], markersize=6)
        if strong:
            end = (trial.steps[-1], trial.losses[-1])
            behind = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.85}
            axes.annotate(f"{trial.losses[-1]:.3f}", end, (8, 0), textcoords="offset points", va="center", bbox=behind)
    step_axis(axes)
    _key(axes, shown)
    return drawn(figure, "Validation loss by step")


@styled
def parameters(trials: Sequence[TrialCurve], logs: Sequence[str]) -> str:
    """The last loss by each parameter, a panel for each; the axes of the parameters in ``logs`` are logarithmic."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    shown = _shown(trials)
    names = list(trials[0].values)
    figure = blank(2.5)
    panels = list(figure.subplots(1, len(names), sharey=True, squeeze=False)[0])
    for axes, name in zip(panels, names, strict=True):
        for trial in shown:
            axes.plot(trial.values[name], trial.losses[-1], trial.mark, color=SHADES[trial.role], markersize=7)
        tried = [trial.values[name] for trial in trials]
        if name in logs:
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1,) if max(tried) >= 30 * min(tried) else (1, 2, 5)))
            axes.xaxis.set_minor_locator(NullLocator())
        else:
            axes.set_xticks(sorted(set(tried)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.set_xlabel(name)
        axes.margins(x=0.12)
        grid(axes, "y")
    panels[0].set_ylabel(UNIT)
    return drawn(figure, "Last loss by parameter")


def _shown(trials: Sequence[TrialCurve]) -> list[TrialCurve]:
    """The trials with a loss, the important ones last, so that they are drawn over the others."""
    order = list(reversed(SHADES))
    return sorted((trial for trial in trials if trial.losses), key=lambda trial: order.index(trial.role))


def _key(axes: "Axes", shown: Sequence[TrialCurve]) -> None:
    from matplotlib.lines import Line2D

    marks = {trial.role: trial.mark for trial in shown}
    handles = [
        Line2D([], [], color=shade, marker=marks[role], markersize=5, label=role)
        for role, shade in SHADES.items()
        if role in marks
    ]
    axes.legend(
        handles=handles, frameon=False, ncols=len(handles), loc="lower left", bbox_to_anchor=(0, 1), fontsize=9.5
    )

"""The pieces of decks and pages as HTML, rendered from ``reports/templates``; every value in them is escaped."""

import functools
import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parents[1] / "templates"


@functools.cache
def environment() -> "Environment":
    """The templates, with escaping of every value in HTML and SVG, and an error for every missing one."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=select_autoescape(["html", "svg"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["shown"] = shown
    return made


def render(template: str, **values: object) -> Markup:
    """A template of ``reports/templates`` with these values."""
    return Markup(environment().get_template(template).render(**values))  # noqa: S704 - the environment escapes


def _part(name: str, *values: object) -> Markup:
    """A macro of ``parts.html``."""
    made: Markup = getattr(environment().get_template("parts.html").module, name)(*values)
    return made


def joined(parts: Sequence[str]) -> Markup:
    """Pieces of HTML one after the other; they are taken as they are."""
    return Markup("".join(parts))  # noqa: S704


def style(*names: str) -> Markup:
    """The style element with these files of CSS."""
    return _part("style", *names)


def deck(*parts: str) -> Markup:
    """The parts, which are HTML, as one styled block that needs nothing else, as a Flyte deck takes it."""
    return _part("deck", joined(parts))


def section(slug: str, title: str, content: str) -> Markup:
    """A section of a page under its heading; ``content`` is HTML."""
    return _part("section", slug, title, joined([content]))


def figure(title: str, svg: str) -> Markup:
    """A drawing with its caption; ``svg`` is taken as it is."""
    return _part("figure", title, joined([svg]))


def heading(text: str) -> Markup:
    """A heading inside a deck or section."""
    return _part("heading", text)


def note(text: str) -> Markup:
    """A paragraph in muted type."""
    return _part("note", text)


def fields(record: object, *names: str) -> dict[str, object]:
    """These attributes of a record under their names in words, for ``facts`` and ``table``."""
    return {name.replace("_", " "): getattr(record, name) for name in names}


def facts(values: Mapping[str, object]) -> Markup:
    """Key figures side by side, one card for each."""
    return _part("facts", values)


def table(rows: Sequence[Mapping[str, object]]) -> Markup:
    """A table with the columns of its first row; a column that holds only numbers is aligned right."""
    if not rows:
        return note("Nothing to show.")
    columns = {name: [row.get(name) for row in rows] for name in rows[0]}
    numbers = {name for name, values in columns.items() if all(map(_is_number, values))}
    texts = {name: _cells(values) if name in numbers else list(map(shown, values)) for name, values in columns.items()}
    cells = [dict(zip(columns, row, strict=True)) for row in zip(*texts.values(), strict=True)]
    return _part("table", list(columns), cells, numbers)


def shown(value: object) -> str:
    """A value as text: groups of three digits, four significant digits, UTC to the minute, ``-`` for none."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, int | np.integer):
        return f"{int(value):,}"
    if isinstance(value, float | np.floating):
        real = float(value)
        return f"{real:,.0f}" if abs(real) >= 10_000 else f"{real:.4g}"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    return str(value.value).replace("_", " ") if isinstance(value, Enum) else str(value)


def _cells(values: Sequence[object]) -> list[str]:
    """The numbers of a column with the same decimal places: four significant digits of the largest."""
    reals = [float(v) if isinstance(v, float | np.floating) and math.isfinite(v) else None for v in values]
    largest = max((abs(real) for real in reals if real is not None), default=0.0)
    decimals = min(6, max(0, 3 - math.floor(math.log10(largest)))) if largest else 0
    return [
        shown(value) if real is None else f"{real:,.{decimals}f}" for value, real in zip(values, reals, strict=True)
    ]


def _is_number(value: object) -> bool:
    return value is None or (isinstance(value, int | float | np.number) and not isinstance(value, bool))

"""Small pieces of HTML for decks and the report, in one calm style: every function escapes what it is given."""

import html
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

# Okabe and Ito's colours, which the colour-blind tell apart, on white.
BLUE, GREEN, ORANGE, RED, GREY = "#0072b2", "#009e73", "#e69f00", "#d55e00", "#8a94a6"
INK, MUTED, LINE = "#1f2933", "#5b6776", "#e3e7ed"
FONT = "system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif"

STYLE = f"""<style>
.fl{{font:15px/1.55 {FONT};color:{INK};max-width:960px}}
.fl h2{{font-size:20px;margin:0 0 12px}} .fl h3{{font-size:16px;margin:20px 0 8px}}
.fl figure{{margin:16px 0;padding:16px 18px;background:#fff;border:1px solid {LINE};
  border-radius:10px;break-inside:avoid}}
.fl figcaption{{font-weight:600;margin-bottom:8px}}
.fl figure svg{{display:block;width:100%;height:auto}}
.fl dl{{display:grid;grid-template-columns:repeat(auto-fill,minmax(150px,1fr));gap:10px;margin:16px 0}}
.fl dl div{{background:#fff;border:1px solid {LINE};border-radius:10px;padding:10px 14px;break-inside:avoid}}
.fl dt{{font-size:12.5px;color:{MUTED}}} .fl dd{{margin:2px 0 0;font-size:16px;font-weight:600;overflow-wrap:anywhere}}
.fl .scroll{{overflow-x:auto;margin:16px 0}}
.fl table{{border-collapse:collapse;width:100%;font-size:14px;background:#fff}}
.fl th{{text-align:left;font-weight:600;font-size:12.5px;color:{MUTED};border-bottom:2px solid {LINE};padding:6px 12px}}
.fl td{{border-bottom:1px solid {LINE};padding:6px 12px;overflow-wrap:anywhere}}
.fl .number{{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}}
.fl p.note{{color:{MUTED};margin:10px 0}}
</style>"""


def deck(*parts: str) -> str:
    """The parts as one styled block that stands alone, as a Flyte deck takes it."""
    return f'{STYLE}<div class="fl">{"".join(parts)}</div>'


def heading(text: str) -> str:
    """A heading inside a deck or section."""
    return f"<h3>{html.escape(text)}</h3>"


def note(text: str) -> str:
    """A quiet paragraph."""
    return f'<p class="note">{html.escape(text)}</p>'


def facts(values: Mapping[str, object]) -> str:
    """Key figures side by side, one card each."""
    cards = "".join(
        f"<div><dt>{html.escape(name)}</dt><dd>{html.escape(told(value))}</dd></div>" for name, value in values.items()
    )
    return f"<dl>{cards}</dl>"


def table(rows: "Sequence[Mapping[str, object]] | pd.DataFrame") -> str:
    """A table; a column that holds only numbers is set flush right. Columns are those of the first row."""
    records: Sequence[Mapping[Any, object]] = rows if isinstance(rows, Sequence) else rows.to_dict("records")
    if not records:
        return note("Nothing to show.")
    columns = list(records[0])
    right = {name for name in columns if all(_is_number(row.get(name)) for row in records)}
    decimals = {name: _decimals([row.get(name) for row in records]) for name in right}
    mark = {name: ' class="number"' if name in right else "" for name in columns}
    head = "".join(f"<th{mark[name]}>{html.escape(str(name))}</th>" for name in columns)
    body = "".join(
        "<tr>"
        + "".join(f"<td{mark[name]}>{_cell(row.get(name), decimals.get(name, 0))}</td>" for name in columns)
        + "</tr>"
        for row in records
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def told(value: object) -> str:
    """A value as a person reads it: thousands apart, four significant digits, nothing for none."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, int | np.integer):
        return f"{int(value):,}"
    if isinstance(value, float | np.floating):
        real = float(value)
        return f"{real:,.0f}" if abs(real) >= 10_000 else f"{real:.4g}"
    return str(value)


def _decimals(values: Sequence[object]) -> int:
    """Places after the point that a column's numbers share: four significant digits of the largest."""
    reals = [abs(float(v)) for v in values if isinstance(v, float | np.floating) and math.isfinite(v)]
    return min(6, max(0, 3 - math.floor(math.log10(max(reals))))) if any(reals) else 0


def _cell(value: object, decimals: int) -> str:
    real = isinstance(value, float | np.floating) and math.isfinite(value)
    return f"{value:,.{decimals}f}" if real else html.escape(told(value))


def _is_number(value: object) -> bool:
    return value is None or (isinstance(value, int | float | np.number) and not isinstance(value, bool))

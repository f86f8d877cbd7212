"""The catalogue page: a description of every contract, generated, so that it cannot differ from what is checked.

``fuelline docs contracts > docs/contracts.md`` writes it; a test compares the committed page with it.
"""

from collections.abc import Iterator

from lake.contracts import contracts
from lake.contracts.base import Column
from lake.contracts.registries import REGISTRIES
from reports.common.html import render


def page() -> str:
    """The whole page, as Markdown."""
    return render("contracts.md", contracts=contracts().values(), bounds=_bounds) + "\n"


def _bounds(column: Column) -> Iterator[str]:
    if not column.required:
        yield "may be null"
    if column.allowed:
        yield f"one of {', '.join(f'{value:g}' for value in column.allowed)}"
    if column.low is not None or column.high is not None:
        ends = ["" if end is None else f"{end:,.0f}" for end in (column.low, column.high)]
        yield f"{'..'.join(ends)} {column.unit}".strip()
    elif column.unit:
        yield column.unit
    if column.low_if_failed is not None:
        yield f"from {column.low_if_failed:g} where the call failed"
    if column.max_length:
        yield f"at most {column.max_length:,} characters"
    if column.registry:
        yield f"one of {', '.join(sorted(REGISTRIES[column.registry]))}"

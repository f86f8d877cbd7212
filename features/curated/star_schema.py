"""The views of the star schema in Trino: ``fuelline docs trino-views > views.sql``.

A view of a table that does not exist is an error in Trino, and ``trino --file`` stops at the first one. Which tables
exist depends on the lake: a curated table is made by its first build. So the views are printed from the lake.
"""

import re
from collections.abc import Container
from dataclasses import dataclass
from importlib import resources

from lake.maintenance.trino import CATALOG


@dataclass(frozen=True, kw_only=True, slots=True)
class StarView:
    """One view of the star schema."""

    name: str
    tables: tuple[str, ...]
    """The lake's tables that it reads, such as ``curated.agent_performance_daily``."""
    statement: str
    """Without its semicolon."""


def schema_statement() -> str:
    """Creates the schema of the views, without its semicolon."""
    return _statements()[0]


def views() -> list[StarView]:
    """Every view, in the order of the file."""
    return [_view(statement) for statement in _statements()[1:]]


def script(existing: Container[str]) -> str:
    """The views whose tables are all in ``existing``, for ``trino --file``; comments at the top name the others."""
    left_out, statements = [], [schema_statement()]
    for view in views():
        if missing := [table for table in view.tables if table not in existing]:
            left_out.append(f"-- {view.name} is left out: {', '.join(missing)} has no rows yet.\n")
        else:
            statements.append(view.statement)
    return "".join(left_out) + "\n\n".join(f"{statement};" for statement in statements) + "\n"


def _statements() -> list[str]:
    text = resources.files(__package__).joinpath("star_schema.sql").read_text()
    text = re.sub(r"^--.*\n", "", text, flags=re.MULTILINE)
    return [statement.strip() for statement in text.split(";") if statement.strip()]


def _view(statement: str) -> StarView:
    name = re.match(r"CREATE OR REPLACE VIEW (\S+)", statement)
    assert name, statement
    return StarView(name=name[1], tables=tuple(re.findall(rf"\b{CATALOG}\.(\w+\.\w+)", statement)), statement=statement)

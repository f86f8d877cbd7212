"""Decks of the feature tables, the online store and the curated tables."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from reports.charts.common import distributions
from reports.common.html import facts, fields, heading, note, table

if TYPE_CHECKING:
    from features.curated.tables import Build
    from features.online.reader import Materialization
    from lake.lake import Lake
    from lake.tables.versions import TableVersion


def features_deck(lake: "Lake", *versions: "TableVersion") -> list[str]:
    """Rows of each feature table, and a histogram of each of its numbers."""
    import pyarrow as pa

    from lake.contracts import contract

    parts: list[str] = [facts({version.table: version.rows for version in versions})]
    for version in versions:
        columns = contract(version.table).columns
        units = {c.name: c.unit for c in columns if pa.types.is_integer(c.type) or pa.types.is_floating(c.type)}
        rows = lake.tables.read(version, columns=list(units))
        parts.append(distributions({name: rows[name].to_numpy() for name in units}, version.table, units))
    return parts


def online_deck(pushed: "Iterable[Materialization]") -> list[str]:
    """How many entities each materialization put online."""
    return [
        facts({"as of": f"{done.as_of:%Y-%m-%d %H:%M} UTC", **fields(done, "users", "agents", "namespaces")})
        for done in pushed
    ] or [note("Nothing was due: an earlier run has done it, or nothing has been ingested yet.")]


def curated_deck(lake: "Lake", builds: "Iterable[Build]") -> list[str]:
    """Each curated table: the days that were rebuilt, and the rows of its newest day."""
    from features.curated.numbers import newest_numbers

    parts: list[str] = []
    for build in builds:
        rebuilt = ", ".join(build.rebuilt[-3:]) or "nothing was due"
        parts += [heading(build.table), facts({"rebuilt": len(build.rebuilt), "newest of them": rebuilt})]
        for version in build.version:
            day, rows = newest_numbers(lake, version)
            parts += [note(f"As of {day}, {version.rows:,} rows in all."), table(rows)]
    return parts

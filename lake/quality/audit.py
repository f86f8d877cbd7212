"""The daily audit: repeated keys on days that are further apart than those that a commit compares.

One pass of DuckDB over the key columns of a version, streamed, so that memory holds keys and never texts.
"""

import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lake.contracts import contract as named_contract
from lake.contracts.base import Contract
from lake.lake import Lake
from lake.store.ledger import Entry
from lake.tables.engine import connect
from lake.tables.tables import Tables
from lake.tables.uniqueness import MEMORY_LIMIT, conflict_reason
from lake.tables.versions import TableVersion

if TYPE_CHECKING:
    import duckdb

SAMPLE = 20
"""Keys that are listed for each broken rule."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DuplicateKeys:
    """The repeated keys of one rule of uniqueness."""

    columns: tuple[str, ...]
    """The columns whose values have to be unique."""
    reason: str
    """The name that ingestion uses for it."""
    keys: int
    rows: int
    """Rows with one of these keys, the first of each included."""
    sample: tuple[str, ...]
    """At most 20 of the keys, in order."""


def audit(tables: Tables, contract: Contract, version: TableVersion) -> list[DuplicateKeys]:
    """Find repeated keys: one result for each broken rule of the contract.

    Raises:
        UnknownName: the version does not exist, or has expired.
    """
    rules = (contract.key, *contract.unique)
    columns = sorted({column for rule in rules for column in rule})
    spill = tempfile.TemporaryDirectory(prefix="fuelline-")
    with spill as folder, connect(memory_limit=MEMORY_LIMIT, temp_directory=folder) as db:
        db.register("rows", tables.batches(version, columns=columns))
        db.execute("CREATE TABLE keys AS FROM rows")
        findings = [_repeats(db, rule) for rule in rules]
    return [finding for finding in findings if finding.keys]


def audit_newest(lake: Lake, data_set: str, source: str) -> Entry:
    """Audit the newest version of a data set, once; the findings are the ``audited`` entry of the source's chain."""
    contract = named_contract(data_set)
    version = lake.tables.current(contract)
    chain, key = f"sources/{source}", f"audited:{version}"
    if recorded := lake.ledger.find(chain, key):
        return recorded
    repeats = audit(lake.tables, contract, version) if version else []
    findings = [{"reason": found.reason, "keys": found.keys, "rows": found.rows} for found in repeats]
    return lake.ledger.append(chain, "audited", key, {"version": str(version), "findings": findings})


def _repeats(db: "duckdb.DuckDBPyConnection", rule: tuple[str, ...]) -> DuplicateKeys:
    columns = ", ".join(f'"{column}"' for column in rule)
    text = " || ', ' || ".join(f'"{column}"::VARCHAR' for column in rule)
    db.execute(
        f"CREATE OR REPLACE TABLE repeated AS "
        f"SELECT {columns}, count(*) AS n FROM keys GROUP BY ALL HAVING count(*) > 1"
    )
    keys, rows = db.execute("SELECT count(*), coalesce(sum(n), 0)::BIGINT FROM repeated").fetchall()[0]
    sample = db.execute(f"SELECT {text} FROM repeated ORDER BY {columns} LIMIT {SAMPLE}").fetchall()
    return DuplicateKeys(
        columns=rule, reason=conflict_reason(rule), keys=keys, rows=rows, sample=tuple(key for (key,) in sample)
    )

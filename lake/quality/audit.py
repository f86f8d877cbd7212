"""The daily audit: repeated keys on days that are further apart than those that a commit compares.

One pass of DuckDB over the key columns of a version, streamed, so that memory holds keys and never texts.
"""

import tempfile
from dataclasses import asdict, dataclass

from lake.contracts import contract as named_contract
from lake.contracts.base import Contract
from lake.lake import Lake
from lake.store.ledger import Entry
from lake.tables.engine import connect
from lake.tables.tables import Tables
from lake.tables.uniqueness import MEMORY_LIMIT, conflict_reason
from lake.tables.versions import TableVersion


@dataclass(frozen=True, kw_only=True, slots=True)
class DuplicateKeys:
    """The repeated keys of one rule of uniqueness."""

    reason: str
    """The name that ingestion uses for it."""
    keys: int
    rows: int
    """Rows with one of these keys, the first of each included."""


def audit(tables: Tables, contract: Contract, version: TableVersion) -> list[DuplicateKeys]:
    """Find repeated keys: one result for each broken rule of the contract. Raises ``UnknownName`` where the version
    does not exist, or has expired.
    """
    findings: list[DuplicateKeys] = []
    rules = (contract.key, *contract.unique)
    columns = sorted({column for rule in rules for column in rule})
    spill = tempfile.TemporaryDirectory(prefix="fuelline-")
    with spill as folder, connect(memory_limit=MEMORY_LIMIT, temp_directory=folder) as db:
        db.register("rows", tables.scan(version, columns=columns).to_arrow_batch_reader())
        db.execute("CREATE TABLE keys AS FROM rows")
        for rule in rules:
            names = ", ".join(f'"{column}"' for column in rule)
            repeated = f"SELECT count(*) AS n FROM keys GROUP BY {names} HAVING count(*) > 1"
            keys, rows = db.execute(f"SELECT count(*), sum(n)::BIGINT FROM ({repeated})").fetchall()[0]
            if keys:
                findings.append(DuplicateKeys(reason=conflict_reason(rule), keys=keys, rows=rows))
    return findings


def audit_newest(lake: Lake, data_set: str, source: str) -> Entry:
    """Audit the newest version of a data set, once; the findings are the ``audited`` entry of the source's chain."""
    contract = named_contract(data_set)
    version = lake.tables.current(contract)
    chain, key = f"sources/{source}", f"audited:{version}"
    if recorded := lake.ledger.find(chain, key):
        return recorded
    findings = list(map(asdict, audit(lake.tables, contract, version))) if version else []
    return lake.ledger.append(chain, "audited", key, {"version": str(version), "findings": findings})

"""Which rows of a batch are new: compared with the batch itself and with the partitions that it touches and their neighbours.

A commit therefore never scans a table. What lies further apart (one id on two distant days) is found by the daily audit.
The first of two rows wins, and rows that are in the table come before rows of a batch.
"""

from collections.abc import Callable, Iterable, Iterator
from datetime import date, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from lake.contracts.base import Contract

DUPLICATE = "duplicate"
MEMORY_LIMIT = "768MB"
"""Of the keys seen in one batch; beyond it they spill to disk."""

Existing = Callable[[list[date | str]], Iterator[pa.RecordBatch]]
"""Rows of the table that stand in these partitions (days, or values of the identity column)."""


def conflict_reason(columns: tuple[str, ...]) -> str:
    """The reason's name for two different rows that agree on these columns: ``timestamp_agent_conflict``."""
    return "_".join(column.removesuffix("_name") for column in columns) + "_conflict"


class Uniqueness:
    """Remembers the keys of one batch, slab by slab.

    ``existing`` reads the table's rows of whole partitions; each partition is read once.
    """

    def __init__(self, contract: Contract, existing: Existing, scratch: Path) -> None:
        self.contract = contract
        self._existing = existing
        self._loaded: set[date | str] = set()
        self._rules = (contract.key, *contract.unique)
        self._db = duckdb.connect(config={"memory_limit": MEMORY_LIMIT, "temp_directory": str(scratch / "spill")})
        self._db.execute("SET TimeZone = 'UTC'")
        self._keys = list(dict.fromkeys(column for rule in self._rules for column in rule))
        empty = contract.arrow_schema.empty_table()
        self._db.register("slab", empty)
        self._db.execute(f"CREATE TABLE seen AS SELECT {self._columns()}, {self._hash()} AS h FROM slab")

    def classify(self, rows: pa.Table) -> pa.Array:
        """For each row: null where it is new, ``duplicate`` for an identical row, or the name of the conflict.

        ``rows`` has the contract's columns. New rows are remembered for the next slab.
        """
        self._load_neighbours(rows)
        numbered = rows.append_column("_n", pa.array(range(rows.num_rows), pa.int64()))
        self._db.register("slab", numbered)
        self._db.execute(
            f"CREATE OR REPLACE TEMP TABLE fresh AS SELECT _n, {self._columns()}, {self._hash()} AS h FROM slab"
        )
        self._db.execute("CREATE OR REPLACE TEMP TABLE refused (_n BIGINT, reason VARCHAR)")
        for rule in self._rules:
            self._refuse(rule)
        verdicts = self._db.sql("SELECT _n, reason FROM refused").to_arrow_table()
        self._db.execute("INSERT INTO seen SELECT * EXCLUDE (_n) FROM fresh")
        reasons = pa.nulls(rows.num_rows, pa.string()).to_numpy(zero_copy_only=False)
        reasons[verdicts["_n"].to_numpy()] = verdicts["reason"].to_numpy(zero_copy_only=False)
        return pa.array(reasons, pa.string())

    def _refuse(self, rule: tuple[str, ...]) -> None:
        """Move the rows of ``fresh`` that repeat an earlier row's rule columns to ``refused``."""
        columns = _quoted(rule)
        same = " AND ".join(f's."{c}" = f."{c}"' for c in rule)
        window = f"PARTITION BY {columns} ORDER BY _n"
        self._db.execute(
            f"""
            CREATE OR REPLACE TEMP TABLE repeated AS
            SELECT f._n, IF(coalesce(s.h, f.h0) = f.h, '{DUPLICATE}', '{conflict_reason(rule)}') AS reason
            FROM (SELECT *, first_value(h) OVER ({window}) AS h0, row_number() OVER ({window}) AS nth FROM fresh) f
            LEFT JOIN (SELECT DISTINCT ON ({columns}) {columns}, h FROM seen
                       WHERE ({columns}) IN (SELECT ({columns}) FROM fresh)) s
            ON {same} WHERE s.h IS NOT NULL OR f.nth > 1
            """
        )
        self._db.execute("INSERT INTO refused SELECT * FROM repeated")
        self._db.execute("DELETE FROM fresh WHERE _n IN (SELECT _n FROM repeated)")

    def _load_neighbours(self, rows: pa.Table) -> None:
        wanted = sorted(touched_partitions(self.contract, rows) - self._loaded, key=str)
        if not wanted:
            return
        self._loaded.update(wanted)
        for batch in self._existing(wanted):
            self._db.register("slab", pa.Table.from_batches([batch]).select(self.contract.arrow_schema.names))
            self._db.execute(f"INSERT INTO seen SELECT {self._columns()}, {self._hash()} FROM slab")

    def _columns(self) -> str:
        return _quoted(self._keys)

    def _hash(self) -> str:
        return f"hash({_quoted(self.contract.arrow_schema.names)})"


def _quoted(columns: Iterable[str]) -> str:
    return ", ".join(f'"{column}"' for column in columns)


def touched_partitions(contract: Contract, rows: pa.Table) -> set[date | str]:
    """Days of the rows and the days beside them; for a table without days the values of its identity column."""
    if column := contract.day_column:
        days = pc.unique(rows[column].cast(pa.date32())).to_pylist()
        return {day + timedelta(days=offset) for day in days for offset in (-1, 0, 1)}
    return set(pc.unique(rows[contract.partitions[0][1]]).to_pylist())

"""Which rows of a batch are new, compared with the batch itself and with the partitions that it touches and the days
beside them.

A commit therefore never scans the whole table. Repetitions that lie further apart (one id on two distant days) are
found by the daily audit. The first of two rows wins, and rows in the table come before rows of a batch.
"""

from collections.abc import Callable, Iterable, Iterator
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lake.contracts.base import Contract
from lake.tables.engine import connect

DUPLICATE = "duplicate"
MEMORY_LIMIT = "768MB"
"""Of the keys of one batch; more of them spill to disk."""

_VERDICTS = pa.schema([("_n", pa.int64()), ("reason", pa.string())])

Existing = Callable[[list[date | str]], Iterator[pa.RecordBatch]]
"""Reads the table's rows in these partitions (days, or values of the identity column)."""


def conflict_reason(columns: tuple[str, ...]) -> str:
    """The reason given to a row that differs from another with the same columns: ``timestamp_agent_conflict``."""
    return "_".join(column.removesuffix("_name") for column in columns) + "_conflict"


class Uniqueness:
    """The keys of one batch, which is classified slab by slab.

    ``existing`` reads the table's rows of whole partitions; each partition is read once.
    """

    def __init__(self, contract: Contract, existing: Existing, scratch: Path) -> None:
        self.contract = contract
        self._existing = existing
        self._loaded: set[date | str] = set()
        self._rules = (contract.key, *contract.unique)
        self._db = connect(memory_limit=MEMORY_LIMIT, temp_directory=str(scratch / "spill"))
        self._db.execute("SET threads = 1")  # the other cores parse the next blocks
        self._keys = _quoted(dict.fromkeys(column for rule in self._rules for column in rule))
        hashes = ", ".join(f"hash({_quoted(rule)}) AS h{n}" for n, rule in enumerate(self._rules))
        self._columns = f"{self._keys}, hash({_quoted(contract.arrow_schema.names)}) AS h, {hashes}"
        self._db.register("slab", contract.arrow_schema.empty_table())
        self._db.execute(f"CREATE TABLE seen AS SELECT {self._columns} FROM slab")

    def classify(self, rows: pa.Table) -> pa.Array:
        """For each row: null where it is new, ``duplicate`` for an identical row, or the name of the conflict.

        A row is compared with the new rows before it and with no others, so the result does not depend on where a slab
        ends. ``rows`` has the contract's columns. New rows are kept for the comparison with the next slab.
        """
        self._load_neighbours(rows)
        self._db.register("slab", rows.append_column("_n", pa.array(np.arange(rows.num_rows))))
        self._db.execute(f"CREATE OR REPLACE TEMP TABLE arrived AS SELECT _n, {self._columns} FROM slab")
        self._db.execute("CREATE OR REPLACE TEMP TABLE refused (_n BIGINT, reason VARCHAR)")
        self._select_candidates()
        self._refuse(self._repeats_of_seen(self._rules[0]))
        self._db.register("verdicts", self._classify_shared())
        for rule in self._rules[1:]:
            self._refuse(f"SELECT * FROM ({self._repeats_of_seen(rule)}) WHERE _n NOT IN (SELECT _n FROM shared_rows)")
        self._refuse("SELECT _n, reason FROM verdicts WHERE reason IS NOT NULL")
        self._db.execute("INSERT INTO seen SELECT * EXCLUDE (_n) FROM arrived ANTI JOIN refused USING (_n)")
        return self._verdicts(rows.num_rows)

    def close(self) -> None:
        self._db.close()

    def _select_candidates(self) -> None:
        """Select what needs a comparison: into ``fresh`` the rows whose hash for a rule occurs elsewhere, and into
        ``near`` the seen rows that share one. All other rows are new, and these two tables nearly empty.
        """
        hashes = [f"h{n}" for n, _ in enumerate(self._rules)]
        near = " OR ".join(f"{h} IN (SELECT {h} FROM arrived)" for h in hashes)
        self._db.execute(f"CREATE OR REPLACE TEMP TABLE near AS FROM seen WHERE {near}")
        shared = " OR ".join(
            f"{h} IN (SELECT {h} FROM near UNION ALL SELECT {h} FROM arrived GROUP BY {h} HAVING count(*) > 1)"
            for h in hashes
        )
        self._db.execute(f"CREATE OR REPLACE TEMP TABLE fresh AS FROM arrived WHERE {shared}")

    def _repeats_of_seen(self, rule: tuple[str, ...], among: str = "fresh") -> str:
        """SQL: rows of ``fresh`` whose rule columns occur in ``near``, and the reason for each."""
        same = " AND ".join(f's."{column}" = f."{column}"' for column in rule)
        reason = f"IF(bool_or(s.h = f.h), '{DUPLICATE}', '{conflict_reason(rule)}')"
        rows = f"(FROM fresh SEMI JOIN {among} USING (_n)) f" if among != "fresh" else "fresh f"
        return f"SELECT f._n, {reason} AS reason FROM {rows} JOIN near s ON {same} GROUP BY f._n"

    def _refuse(self, verdicts_sql: str) -> None:
        """Move rows of ``fresh`` to ``refused``."""
        self._db.execute(f"CREATE OR REPLACE TEMP TABLE found AS {verdicts_sql}")
        self._db.execute("INSERT INTO refused FROM found")
        self._db.execute("DELETE FROM fresh WHERE _n IN (SELECT _n FROM found)")

    def _classify_shared(self) -> pa.Table:
        """Verdicts on the few rows that share a rule's columns with another row of the slab, one row at a time."""
        shared = " UNION ".join(
            f"SELECT _n FROM fresh WHERE ({c}) IN (SELECT ({c}) FROM fresh GROUP BY {c} HAVING count(*) > 1)"
            for c in map(_quoted, self._rules)
        )
        self._db.execute(f"CREATE OR REPLACE TEMP TABLE shared_rows AS {shared}")
        repeats = [dict(self._db.sql(self._repeats_of_seen(rule, "shared_rows")).fetchall()) for rule in self._rules]
        ids = ", ".join(f"dense_rank() OVER (ORDER BY {_quoted(rule)})" for rule in self._rules)
        rows = self._db.sql(f"SELECT _n, h, {ids} FROM fresh WHERE _n IN (FROM shared_rows) ORDER BY _n").fetchall()
        return pa.Table.from_pylist(list(_one_by_one(self._rules, rows, repeats)), _VERDICTS)

    def _verdicts(self, rows: int) -> pa.Array:
        if not self._db.execute("SELECT count(*) FROM refused").fetchall()[0][0]:
            return pa.nulls(rows, pa.string())
        ordered = "SELECT refused.reason FROM slab LEFT JOIN refused USING (_n) ORDER BY _n"
        return self._db.sql(ordered).to_arrow_table()["reason"].combine_chunks()

    def _load_neighbours(self, rows: pa.Table) -> None:
        wanted = sorted(touched_partitions(self.contract, rows) - self._loaded, key=str)
        if not wanted:
            return
        self._loaded.update(wanted)
        for batch in self._existing(wanted):
            self._db.register("slab", pa.Table.from_batches([batch]).select(self.contract.arrow_schema.names))
            self._db.execute(f"INSERT INTO seen SELECT {self._columns} FROM slab")


def _one_by_one(
    rules: tuple[tuple[str, ...], ...], rows: list[tuple[int, ...]], repeats: list[dict[int, str]]
) -> Iterator[dict[str, int | str | None]]:
    """Classify rows in order, each against the rows accepted before it and against the rows in the table.

    A row is its number, its digest, and for each rule an id of its values in the rule's columns. ``repeats`` has for
    each rule the rows that repeat one in the table, and why.
    """
    accepted: list[dict[int, int]] = [{} for _ in rules]
    for number, digest, *ids in rows:
        verdict = None
        for rule, known, repeated, value in zip(rules, accepted, repeats, ids, strict=True):
            if value in known:
                verdict = DUPLICATE if known[value] == digest else conflict_reason(rule)
            else:
                verdict = repeated.get(number)
            if verdict:
                break
        if verdict is None:
            for known, value in zip(accepted, ids, strict=True):
                known[value] = digest
        yield {"_n": number, "reason": verdict}


def _quoted(columns: Iterable[str]) -> str:
    return ", ".join(f'"{column}"' for column in columns)


def touched_partitions(contract: Contract, rows: pa.Table) -> set[date | str]:
    """The days of the rows and the days beside them; for a table without days the values of its identity column."""
    if column := contract.day_column:
        days = pc.unique(rows[column].cast(pa.date32())).to_pylist()
        return {day + timedelta(days=offset) for day in days for offset in (-1, 0, 1)}
    return set(pc.unique(rows[contract.partitions[0][1]]).to_pylist())

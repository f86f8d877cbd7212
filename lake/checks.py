"""The contract's bounds as one vectorised verdict a row: the first broken rule names the reason.

What a row's types are is settled in ``parsing.py``; whether it is new, in ``uniqueness.py``.
"""

from datetime import datetime

import duckdb
import pyarrow as pa

from lake.contracts.base import Column, Contract
from lake.contracts.registries import REGISTRIES


def out_of_bounds(contract: Contract, rows: pa.Table, landed_at: datetime) -> pa.Table:
    """The verdict for each row, in order.

    Args:
        contract: whose bounds hold.
        rows: its columns, typed.
        landed_at: no timestamp may lie after it.

    Returns:
        ``reason`` and ``column``, both null for a good row.
    """
    none = pa.nulls(rows.num_rows, pa.string())
    rules = [rule for column in contract.columns for rule in _rules(contract, column, landed_at)]
    if not rules or not rows.num_rows:
        return pa.table({"reason": none, "column": none})
    with duckdb.connect() as db:
        db.execute("SET TimeZone = 'UTC'")
        db.register("rows", rows)
        broken = " OR ".join(f"({condition})" for condition, _ in rules)
        if not db.execute(f"SELECT count(*) FROM rows WHERE {broken}").fetchall()[0][0]:
            return pa.table({"reason": none, "column": none})
        whens = " ".join(f"WHEN {condition} THEN '{verdict}'" for condition, verdict in rules)
        split = "split_part(verdict, ':', 1) AS reason, split_part(verdict, ':', 2) AS \"column\""
        return db.sql(f"SELECT {split} FROM (SELECT CASE {whens} END AS verdict FROM rows)").to_arrow_table()


def _rules(contract: Contract, column: Column, landed_at: datetime) -> list[tuple[str, str]]:
    """Pairs of SQL condition (true where broken) and ``reason:column``."""
    name = f'"{column.name}"'
    at = f":{column.name}"
    rules = []
    if pa.types.is_timestamp(column.type):
        rules.append((f"{name} > TIMESTAMPTZ '{landed_at.isoformat()}'", "future_timestamp" + at))
    if column.registry:
        known = ", ".join(f"'{value}'" for value in sorted(REGISTRIES[column.registry]))
        rules.append((f"{name} NOT IN ({known})", f"unknown_{column.registry.removesuffix('s')}{at}"))
    if column.max_length:
        rules.append((f"length({name}) > {column.max_length}", "oversized_text" + at))
    if range_rule := _range(contract, column):
        rules.append((range_rule, f"{column.name.split('_')[0]}_out_of_range{at}"))
    return rules


def _range(contract: Contract, column: Column) -> str:
    name = f'"{column.name}"'
    broken = []
    if column.low is not None:
        low = f"{column.low:g}"
        if column.low_if_failed is not None:
            low = f"CASE WHEN error THEN {column.low_if_failed:g} ELSE {column.low:g} END"
        broken.append(f"{name} < {low}")
    if column.high is not None:
        broken.append(f"{name} > {column.high:g}")
    if column.allowed:
        broken.append(f"{name} NOT IN ({', '.join(f'{value:g}' for value in column.allowed)})")
    return " OR ".join(broken)

"""The contract's bounds as one vectorised verdict per row: the first broken rule gives the reason.

Types are checked in ``parse.py``, uniqueness in ``lake.tables.uniqueness``. A null breaks no bound.
"""

from collections.abc import Iterator
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from lake.contracts.base import Column, Contract
from lake.contracts.registries import REGISTRIES


def out_of_bounds(contract: Contract, rows: pa.Table, landed_at: datetime) -> pa.Table:
    """The verdict for each row, in order: ``reason`` and ``column``, both null for a good row.

    ``rows`` has the contract's columns, typed; no timestamp may be later than ``landed_at``.
    """
    reason = column = pa.chunked_array([pa.nulls(rows.num_rows, pa.string())])
    for checked in reversed(contract.columns):
        for broken, why in _broken(checked, rows, landed_at):
            if pc.any(broken).as_py():
                broken = pc.fill_null(broken, False)
                reason, column = pc.if_else(broken, why, reason), pc.if_else(broken, checked.name, column)
    return pa.table({"reason": reason, "column": column})


def _broken(column: Column, rows: pa.Table, landed_at: datetime) -> Iterator[tuple[pa.ChunkedArray, str]]:
    """For each rule of a column, the last one first: which rows break it, and the reason."""
    values = rows[column.name]
    out_of_range = f"{column.name.split('_')[0]}_out_of_range"
    if column.allowed:
        yield _not_in(values, column.allowed), out_of_range
    if column.high is not None:
        yield pc.greater(values, column.high), out_of_range
    if column.low is not None:
        low = column.low
        if column.low_if_failed is not None:
            low = pc.if_else(pc.fill_null(rows["error"], False), column.low_if_failed, column.low)
        yield pc.less(values, low), out_of_range
    if column.max_length:
        yield pc.greater(pc.utf8_length(values), column.max_length), "oversized_text"
    if column.registry:
        yield _not_in(values, REGISTRIES[column.registry]), f"unknown_{column.registry.removesuffix('s')}"
    if pa.types.is_timestamp(column.type):
        yield pc.greater(values, pa.scalar(landed_at, column.type)), "future_timestamp"


def _not_in(values: pa.ChunkedArray, known: tuple[float, ...] | frozenset[str]) -> pa.ChunkedArray:
    return pc.and_(pc.is_valid(values), pc.invert(pc.is_in(values, pa.array(list(known), values.type))))

"""Classify the rows of one landed object: new rows, duplicates, and rejects with their reasons.

Blocks are parsed and checked in threads, in parallel; whether a row is new is decided slab by slab and in order.
Memory is bounded whatever the object's size: new rows go to data files as they come, rejects to a local file.
"""

import functools
import tempfile
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet

from lake.contracts.base import Contract
from lake.contracts.registries import REGISTRIES
from lake.ingest.blocks import Block, Fault
from lake.ingest.bounds import out_of_bounds
from lake.ingest.files import read_blocks
from lake.ingest.known_rejects import digests, lines_of, rejected_before
from lake.ingest.parse import REJECTS, parse, readable
from lake.ingest.raw_zone import LandedObject
from lake.tables.append import Writer
from lake.tables.tables import Tables
from lake.tables.uniqueness import DUPLICATE

SLAB_BYTES = 64 << 20
"""Raw bytes between two checks for uniqueness."""
THREADS, AHEAD = 2, 8
"""Threads that read and check blocks, and how many blocks they may be ahead: as many as fill a slab, so that no core
is idle while one is written."""

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True, slots=True)
class Classified:
    """A block's rows within bounds (the contract's columns and ``line``) and its rejects (``REJECTS``)."""

    block: Block | None
    """None for a fault, which has neither lines nor rows."""
    rows: pa.Table
    rejects: pa.Table


class RowClassifier:
    """One attempt at one object. Use it as a context, which holds the file of the rejects.

    It counts new rows, ``duplicates`` (rows and rejects that are known) and rejects by reason, and keeps the time of
    the newest new row (UTC).
    """

    def __init__(self, contract: Contract, landed: LandedObject, tables: Tables, writer: Writer) -> None:
        self.contract, self.landed, self.tables, self.writer = contract, landed, tables, writer
        self.rows = 0
        self.duplicates = 0
        self.reasons: Counter[str] = Counter()
        self.newest: datetime | None = None
        self._first_line = b""
        self._schema = contract.quarantine.arrow_schema

    def __enter__(self) -> "RowClassifier":
        self._folder = tempfile.TemporaryDirectory(prefix="fuelline-")
        self._path = Path(self._folder.name, "rejects.parquet")
        self._rejects = pa.parquet.ParquetWriter(self._path, self._schema, compression="zstd")
        return self

    def __exit__(self, *_: object) -> None:
        self._rejects.close()
        self._folder.cleanup()

    def read(self, path: Path) -> None:
        slab: list[Classified] = []
        size = 0
        with ThreadPoolExecutor(THREADS) as pool:
            for classified in _in_order(pool, self._check, read_blocks(path, self.contract)):
                slab.append(classified)
                size += len(classified.block.data) if classified.block else 0
                if size >= SLAB_BYTES:
                    self._add(slab)
                    slab, size = [], 0
        if slab:
            self._add(slab)

    def rejects(self) -> Path:
        """The file of the rejects, in the quarantine's columns. No more rows can be read after this."""
        self._rejects.close()
        return self._path

    @functools.cached_property
    def _rejected_before(self) -> pa.Array:
        return rejected_before(self.tables, self.contract.quarantine, self.landed.object, self.landed.at)

    def _check(self, piece: Block | Fault) -> Classified:
        """Parse a block and check its bounds. Runs in several threads at once."""
        if isinstance(piece, Fault):
            reject = pa.Table.from_pylist([{"line": piece.line, "reason": piece.reason}], REJECTS)
            return Classified(block=None, rows=self.contract.arrow_schema.empty_table(), rejects=reject)
        parsed = parse(self.contract, piece)
        verdicts = out_of_bounds(self.contract, parsed.rows, self.landed.at)
        rows, beyond = _split([piece], parsed.rows, verdicts["reason"], verdicts["column"])
        return Classified(block=piece, rows=rows, rejects=pa.concat_tables([parsed.rejects, beyond]))

    def _add(self, slab: Sequence[Classified]) -> None:
        """Write the slab's new rows and its rejects."""
        rows = pa.concat_tables([part.rows for part in slab if part.block] or [slab[0].rows])
        reasons = self.writer.classify(rows.select(self.contract.arrow_schema.names))
        repeats = pc.fill_null(pc.equal(reasons, DUPLICATE), False)
        if duplicates := pc.sum(repeats).as_py():
            self.duplicates += duplicates
            rows, reasons = rows.filter(pc.invert(repeats)), reasons.filter(pc.invert(repeats))
        blocks = [part.block for part in slab if part.block]
        if blocks and not self._first_line:
            [self._first_line] = blocks[0].texts([blocks[0].first])
        rows, conflicts = _split(blocks, rows, reasons, pa.nulls(len(reasons), pa.string()))
        self._reject(blocks, pa.concat_tables([*(part.rejects for part in slab), conflicts]))
        self.writer.add(rows)
        self.rows += rows.num_rows
        if rows.num_rows and (column := self.contract.day_column):
            newest = pc.max(rows[column]).as_py()
            self.newest = max(self.newest or newest, newest)

    def _reject(self, blocks: Sequence[Block], rejects: pa.Table) -> None:
        """Write the lines that are rejected for the first time; the others count as duplicates, like known rows."""
        if not rejects.num_rows:
            return
        rejects = rejects.append_column("digest", digests(blocks, rejects, self._first_line))
        known = pc.is_in(rejects["digest"], self._rejected_before)
        self.duplicates += pc.sum(known).as_py()
        rejects = rejects.filter(pc.invert(known))
        for name, value in (("source_object", self.landed.object), ("landed_at", self.landed.at)):
            rejects = rejects.append_column(name, pa.repeat(value, rejects.num_rows))
        self._rejects.write_table(rejects.select(self._schema.names).cast(self._schema))
        self.reasons.update(rejects["reason"].to_pylist())


def _in_order(pool: ThreadPoolExecutor, work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """The results of the pool's work on each item, in the order of the items, a few ahead of their use."""
    pending: deque[Future[Result]] = deque()
    for item in items:
        pending.append(pool.submit(work, item))
        if len(pending) > AHEAD:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


def _split(
    blocks: Sequence[Block], rows: pa.Table, reasons: pa.ChunkedArray, columns: pa.ChunkedArray
) -> tuple[pa.Table, pa.Table]:
    """The rows without a reason, and the others as ``REJECTS``. The blocks hold their lines."""
    if reasons.null_count == len(reasons):
        return rows, REJECTS.empty_table()
    bad = rows.append_column("reason", reasons).append_column("column", columns).filter(pc.is_valid(reasons))
    values = {
        field.name: bad[field.name] if field.name in bad.column_names else pa.nulls(bad.num_rows, field.type)
        for field in REJECTS
        if field.name != "raw"
    }
    known = pc.is_in(values["agent_name"], pa.array(sorted(REGISTRIES["agents"])))
    raw = pa.array((readable(text) for _, text in lines_of(blocks, bad["line"].to_pylist())), pa.string())
    values |= {"raw": raw, "agent_name": pc.if_else(known, values["agent_name"], None)}
    return rows.filter(pc.is_null(reasons)), pa.table({name: values[name] for name in REJECTS.names}, REJECTS)

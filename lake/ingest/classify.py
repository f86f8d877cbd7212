"""Sort the rows of one landed object: into new rows, duplicates, and rejects with their reasons.

What can be told of a block by itself is told in threads, in parallel; whether a row is new, slab by slab and in order.
So memory is bounded whatever the object's size: new rows go to data files as they pass, rejects to a local file.
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
from lake.contracts.quarantine import quarantine_of
from lake.contracts.registries import REGISTRIES
from lake.ingest.blocks import Block, Fault
from lake.ingest.bounds import out_of_bounds
from lake.ingest.files import read_blocks
from lake.ingest.known_rejects import digests, lines_of, rejected_before
from lake.ingest.parse import REJECTS, parse, readable
from lake.tables.append import Writer
from lake.tables.uniqueness import DUPLICATE

SLAB_BYTES = 64 << 20
"""Raw bytes between two looks at uniqueness."""
THREADS, AHEAD = 2, 8
"""Blocks are read and checked by so many threads, and at most so many ahead: as many as fill a slab, so that no core
is idle while one is written."""

Item = TypeVar("Item")
Made = TypeVar("Made")


@dataclass(frozen=True, kw_only=True, slots=True)
class Sifted:
    """A block's rows within bounds (the contract's columns and ``line``) and its rejects (``REJECTS``)."""

    block: Block | None
    """None of a fault: it has neither lines nor rows."""
    rows: pa.Table
    rejects: pa.Table


class Sorting:
    """One try at one object. Use as a context, which holds the rejects."""

    def __init__(self, contract: Contract, name: str, landed_at: datetime, writer: Writer) -> None:
        self.contract, self.landed_at, self.writer = contract, landed_at, writer
        self.rows = 0
        self.duplicates = 0
        self.reasons: Counter[str] = Counter()
        self.newest: datetime | None = None
        self._opening = b""
        self._schema = quarantine_of(contract).arrow_schema
        self._facts = {
            "source_object": pa.scalar(name),
            "landed_at": pa.scalar(landed_at, pa.timestamp("us", tz="UTC")),
        }

    def __enter__(self) -> "Sorting":
        self._folder = tempfile.TemporaryDirectory(prefix="fuelline-")
        self._rejects = pa.parquet.ParquetWriter(self._path, self._schema, compression="zstd")
        return self

    def __exit__(self, *_: object) -> None:
        self._rejects.close()
        self._folder.cleanup()

    @property
    def _path(self) -> Path:
        return Path(self._folder.name, "rejects.parquet")

    def read(self, path: Path) -> None:
        """Take every row of the file."""
        slab: list[Sifted] = []
        size = 0
        with ThreadPoolExecutor(THREADS) as pool:
            for sifted in _in_order(pool, self._sift, read_blocks(path, self.contract)):
                slab.append(sifted)
                size += len(sifted.block.data) if sifted.block else 0
                if size >= SLAB_BYTES:
                    self._add(slab)
                    slab, size = [], 0
        if slab:
            self._add(slab)

    def rejects(self) -> Path:
        """The file of the rejects, in the quarantine's form. No more rows can be read after this."""
        self._rejects.close()
        return self._path

    @functools.cached_property
    def _rejected_before(self) -> pa.Array:
        return rejected_before(self.writer.tables, self.contract, self._facts["source_object"].as_py(), self.landed_at)

    def _sift(self, piece: Block | Fault) -> Sifted:
        """What can be told of a piece by itself. Runs in several threads at once."""
        if isinstance(piece, Fault):
            told = pa.Table.from_pylist([{"line": piece.line, "reason": piece.reason}], REJECTS)
            return Sifted(block=None, rows=self.contract.arrow_schema.empty_table(), rejects=told)
        parsed = parse(self.contract, piece)
        verdicts = out_of_bounds(self.contract, parsed.rows, self.landed_at)
        rows, beyond = _split([piece], parsed.rows, verdicts["reason"], verdicts["column"])
        return Sifted(block=piece, rows=rows, rejects=pa.concat_tables([parsed.rejects, beyond]))

    def _add(self, slab: Sequence[Sifted]) -> None:
        """Write the rows that are new, and all that is rejected."""
        rows = pa.concat_tables([one.rows for one in slab if one.block] or [slab[0].rows])
        reasons = self.writer.classify(rows.select(self.contract.arrow_schema.names))
        repeats = pc.fill_null(pc.equal(reasons, DUPLICATE), False)
        if duplicates := pc.sum(repeats).as_py():
            self.duplicates += duplicates
            rows, reasons = rows.filter(pc.invert(repeats)), reasons.filter(pc.invert(repeats))
        blocks = [one.block for one in slab if one.block]
        if blocks and not self._opening:
            [self._opening] = blocks[0].texts([blocks[0].first])
        rows, conflicts = _split(blocks, rows, reasons, pa.nulls(len(reasons), pa.string()))
        self._reject(blocks, pa.concat_tables([*(one.rejects for one in slab), conflicts]))
        self.writer.add(rows)
        self.rows += rows.num_rows
        if rows.num_rows and (column := self.contract.day_column):
            newest = pc.max(rows[column]).as_py()
            self.newest = max(self.newest or newest, newest)

    def _reject(self, blocks: Sequence[Block], rejects: pa.Table) -> None:
        """Keep what is rejected for the first time; the rest are duplicates, as good rows that are read again are."""
        if not rejects.num_rows:
            return
        rejects = rejects.append_column("digest", digests(blocks, rejects, self._opening))
        again = pc.is_in(rejects["digest"], self._rejected_before)
        self.duplicates += pc.sum(again).as_py()
        rejects = rejects.filter(pc.invert(again))
        for name, value in self._facts.items():
            rejects = rejects.append_column(name, pa.repeat(value, rejects.num_rows))
        self._rejects.write_table(rejects.select(self._schema.names).cast(self._schema))
        self.reasons.update(rejects["reason"].to_pylist())


def _in_order(pool: ThreadPoolExecutor, make: Callable[[Item], Made], items: Iterable[Item]) -> Iterator[Made]:
    """What the pool makes of each item, in their order, a few ahead of their use."""
    pending: deque[Future[Made]] = deque()
    for item in items:
        pending.append(pool.submit(make, item))
        if len(pending) > AHEAD:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


def _split(
    blocks: Sequence[Block], rows: pa.Table, reasons: pa.ChunkedArray, columns: pa.ChunkedArray
) -> tuple[pa.Table, pa.Table]:
    """The rows that have no reason, and the others as ``REJECTS``. The blocks hold their lines."""
    if reasons.null_count == len(reasons):
        return rows, REJECTS.empty_table()
    bad = rows.append_column("reason", reasons).append_column("column", columns).filter(pc.is_valid(reasons))
    told = {field.name: bad[field.name] if field.name in bad.column_names else pa.nulls(bad.num_rows, field.type)
            for field in REJECTS if field.name != "raw"}  # fmt: skip
    known = pc.is_in(told["agent_name"], pa.array(sorted(REGISTRIES["agents"])))
    raw = pa.array((readable(text) for _, text in lines_of(blocks, bad["line"].to_pylist())), pa.string())
    told |= {"raw": raw, "agent_name": pc.if_else(known, told["agent_name"], None)}
    return rows.filter(pc.is_null(reasons)), pa.table({name: told[name] for name in REJECTS.names}, REJECTS)

"""Sort the rows of one landed object: into new rows, duplicates, and rejects with their reasons.

Slab by slab, so that memory is bounded whatever the object's size: new rows go to data files as they pass, rejects to a
local file.
"""

import tempfile
from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet

from lake.checks import out_of_bounds
from lake.contracts.base import Contract
from lake.contracts.quarantine import quarantine_of
from lake.contracts.registries import REGISTRIES
from lake.parsing import REJECTS, Parsed, parse, readable
from lake.sources.block import Block, Fault
from lake.sources.files import read_blocks
from lake.uniqueness import DUPLICATE
from lake.writer import Writer

SLAB_BYTES = 64 << 20
"""Raw bytes between two looks at bounds and uniqueness."""
BLOCKS_AHEAD = 4

Item = TypeVar("Item")


class Sorting:
    """One try at one object. Use as a context, which holds the rejects."""

    def __init__(self, contract: Contract, name: str, landed_at: datetime, writer: Writer) -> None:
        self.contract, self.landed_at, self.writer = contract, landed_at, writer
        self.rows = 0
        self.duplicates = 0
        self.reasons: Counter[str] = Counter()
        self.newest: datetime | None = None
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
        slab: list[tuple[Block, pa.Table]] = []
        size = 0
        for piece, parsed in _ahead(self._parsed(path)):
            self._reject(parsed.rejects)
            if isinstance(piece, Fault):
                continue
            slab.append((piece, parsed.rows))
            size += len(piece.data)
            if size >= SLAB_BYTES:
                self._add(slab)
                slab, size = [], 0
        if slab:
            self._add(slab)

    def _parsed(self, path: Path) -> Iterator[tuple[Block | Fault, Parsed]]:
        for piece in read_blocks(path, self.contract):
            if isinstance(piece, Fault):
                told = pa.Table.from_pylist([{"line": piece.line, "reason": piece.reason}], schema=REJECTS)
                yield piece, Parsed(rows=told.slice(0, 0), rejects=told)
            else:
                yield piece, parse(self.contract, piece)

    def rejects(self) -> Path:
        """The file of the rejects, in the quarantine's form. No more rows can be read after this."""
        self._rejects.close()
        return self._path

    def _add(self, slab: Sequence[tuple[Block, pa.Table]]) -> None:
        blocks = [block for block, _ in slab]
        rows = pa.concat_tables([table for _, table in slab])
        verdicts = out_of_bounds(self.contract, rows, self.landed_at)
        rows = self._without(blocks, rows, verdicts["reason"], verdicts["column"])
        reasons = self.writer.classify(rows.select(self.contract.arrow_schema.names))
        if reasons.null_count < len(reasons):
            repeats = pc.fill_null(pc.equal(reasons, DUPLICATE), False)
            self.duplicates += pc.sum(repeats).as_py()
            rows, reasons = rows.filter(pc.invert(repeats)), reasons.filter(pc.invert(repeats))
            rows = self._without(blocks, rows, reasons, pa.nulls(len(reasons), pa.string()))
        self.writer.add(rows)
        self.rows += rows.num_rows
        if rows.num_rows and (column := self.contract.day_column):
            newest = pc.max(rows[column]).as_py()
            self.newest = max(self.newest or newest, newest)

    def _without(
        self, blocks: Sequence[Block], rows: pa.Table, reasons: pa.ChunkedArray, columns: pa.ChunkedArray
    ) -> pa.Table:
        """The rows that have no reason; the others are rejected."""
        if reasons.null_count == len(reasons):
            return rows
        bad = rows.append_column("reason", reasons).append_column("column", columns).filter(pc.is_valid(reasons))
        raw = pa.array(_texts(blocks, bad["line"].to_pylist()), pa.string())
        told = {field.name: bad[field.name] if field.name in bad.column_names else pa.nulls(bad.num_rows, field.type)
                for field in REJECTS if field.name != "raw"}  # fmt: skip
        known = pc.is_in(told["agent_name"], pa.array(sorted(REGISTRIES["agents"])))
        told |= {"raw": raw, "agent_name": pc.if_else(known, told["agent_name"], None)}
        self._reject(pa.table({name: told[name] for name in REJECTS.names}, REJECTS))
        return rows.filter(pc.is_null(reasons))

    def _reject(self, rejects: pa.Table) -> None:
        if not rejects.num_rows:
            return
        for name, value in self._facts.items():
            rejects = rejects.append_column(name, pa.repeat(value, rejects.num_rows))
        self._rejects.write_table(rejects.select(self._schema.names).cast(self._schema))
        self.reasons.update(rejects["reason"].to_pylist())


def _ahead(items: Iterator[Item]) -> Iterator[Item]:
    """The same items, made by a thread of their own a few ahead of their use: one core reads while the other writes."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        made = deque(pool.submit(next, items, None) for _ in range(BLOCKS_AHEAD))
        while (item := made.popleft().result()) is not None:
            made.append(pool.submit(next, items, None))
            yield item


def _texts(blocks: Sequence[Block], lines: Sequence[int]) -> list[str]:
    """The first characters of these lines, each of which stands in one of the blocks."""
    firsts = [block.first for block in blocks]
    split: dict[int, list[bytes]] = {}
    texts = []
    for line in lines:
        at = bisect_right(firsts, line) - 1
        block = split.setdefault(at, []) or split[at]
        if not block:
            block.extend(blocks[at].data.split(b"\n"))
        texts.append(readable(block[line - firsts[at]]))
    return texts

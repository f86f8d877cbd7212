"""Ingestion: land, parse, check, split, commit quarantine, commit rows, mark done. In that order, each step keyed.

A crash anywhere heals on the next run, because every step looks for its key first. For every object
landed = committed + quarantined + duplicates, and the report says so. The key holds only what changes the result: the digest of
the raw bytes, the contract's major version and the parser's version.
"""

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from errors import CommitContended
from lake.checks import out_of_bounds
from lake.contracts.base import Contract
from lake.contracts.quarantine import quarantine_of
from lake.lake import Lake
from lake.parsing import PARSER_VERSION, RAW_CHARACTERS, REJECTS, Parsed, parse, raw_lines
from lake.sources.files import Block, Fault, extension, find_files, read_blocks
from lake.tables import TRIES, Writer
from lake.uniqueness import DUPLICATE
from lake.versions import TableVersion

log = logging.getLogger("fuelline.ingest")

SLAB_BYTES = 64 << 20
"""Raw bytes between two looks at uniqueness: bounds the memory, whatever the file's size."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ingested:
    """What became of one landed object."""

    object: str
    sha256: str
    landed: int
    committed: int
    quarantined: int
    duplicates: int
    reasons: dict[str, int] = field(default_factory=dict)
    """Quarantined rows by reason."""
    watermark: str = ""
    """Time of the newest committed row, ISO 8601; empty without one."""
    new: bool = True
    """False where an earlier run did the work."""

    def __post_init__(self) -> None:
        if self.landed != self.committed + self.quarantined + self.duplicates:
            raise ValueError(f"{self.object}: {self.landed} landed, but {self} accounts for another number")


def ingest_folder(lake: Lake, contract: Contract, source: str, folder: Path) -> list[Ingested]:
    """Ingest every log file of a folder, oldest path first; files that are in already are passed over.

    Args:
        lake: where to.
        contract: the rows' data set.
        source: the ledger chain and raw zone folder, for example ``agents``.
        folder: JSON lines, CSV or Parquet, plain or gzip.

    Raises:
        SourceError: the folder is not there or holds no such file.
        CommitContended: other writers won every race.
    """
    files = find_files(folder)
    results = []
    for number, path in enumerate(files, start=1):
        done = ingest_file(lake, contract, source, path)
        results.append(done)
        level = logging.INFO if done.new else logging.DEBUG
        log.log(level, "%d/%d files: %s rows in, %s quarantined", number, len(files), done.committed, done.quarantined)
    return results


def ingest_file(lake: Lake, contract: Contract, source: str, path: Path) -> Ingested:
    """Ingest one file; a file whose bytes are in already costs one digest and one look at the ledger."""
    sha256 = _digest(path)
    chain = f"sources/{source}"
    key = f"ingest:{contract.name}:v{contract.major}:parser{PARSER_VERSION}:{sha256}"
    if done := lake.ledger.find(chain, key):
        return Ingested(**done.payload, new=False)
    landed = _land(lake, chain, source, path, sha256)
    result = _commit(lake, contract, source, key, path, landed)
    lake.ledger.append(chain, "ingested", key, {k: v for k, v in asdict(result).items() if k != "new"})
    return result


@dataclass(frozen=True, kw_only=True, slots=True)
class _Landed:
    object: str
    sha256: str
    at: datetime


def _land(lake: Lake, chain: str, source: str, path: Path, sha256: str) -> _Landed:
    """Put the bytes unchanged into the raw zone. The ledger fixes name and time first, so that a retry lands nothing twice."""
    now = lake.ledger.clock()
    name = f"raw/{source}/{now.date().isoformat()}/{sha256[:32]}{extension(path)}"
    facts = {"object": name, "bytes": path.stat().st_size, "landed_at": now.isoformat()}
    entry = lake.ledger.append(chain, "landed", f"landed:{sha256}", facts)
    name = entry.payload["object"]
    if not lake.store.exists(name):
        lake.store.upload(name, path)
    return _Landed(object=name, sha256=sha256, at=datetime.fromisoformat(entry.payload["landed_at"]))


def _commit(lake: Lake, contract: Contract, source: str, key: str, path: Path, landed: _Landed) -> Ingested:
    """Parse, check and commit; begin again whenever another writer was first."""
    for _ in range(TRIES):
        with lake.tables.writer(contract, key) as writer:
            if writer.found:
                return _from_summary(lake, contract, writer.found, landed)
            work = _Work(lake, contract, key, landed, writer)
            work.read(path)
            result = work.result()
            work.commit_quarantine()
            version = writer.commit(_summary(result), watermark=_watermark(source, result))
            if version:
                return result
    raise CommitContended(f"{contract.table}: {TRIES} commits of {landed.object} lost their race")


class _Work:
    """One try at one object: rows go to data files as they pass, rejects to quarantine files."""

    def __init__(self, lake: Lake, contract: Contract, key: str, landed: _Landed, writer: Writer) -> None:
        self.lake, self.contract, self.key, self.landed, self.writer = lake, contract, key, landed, writer
        self.rows = 0
        self.duplicates = 0
        self.reasons: Counter[str] = Counter()
        self.newest: datetime | None = None
        self._rejects: list[pa.Table] = []

    def read(self, path: Path) -> None:
        slab: list[tuple[Block, pa.Table]] = []
        size = 0
        for piece in read_blocks(path, self.contract):
            if isinstance(piece, Fault):
                self._reject(_fault(piece))
                continue
            parsed = parse(self.contract, piece)
            self._reject(parsed.rejects)
            slab.append((piece, self._within_bounds(piece, parsed)))
            size += len(piece.data)
            if size >= SLAB_BYTES:
                self._add(slab)
                slab, size = [], 0
        if slab:
            self._add(slab)

    def result(self) -> Ingested:
        quarantined = sum(self.reasons.values())
        return Ingested(
            object=self.landed.object,
            sha256=self.landed.sha256,
            landed=self.rows + quarantined + self.duplicates,
            committed=self.rows,
            quarantined=quarantined,
            duplicates=self.duplicates,
            reasons=dict(sorted(self.reasons.items())),
            watermark=self.newest.isoformat() if self.newest else "",
        )

    def commit_quarantine(self) -> None:
        """Keyed by the rejects themselves: a try that began again may have found more of them."""
        if not self._rejects:
            return
        rejects = pa.concat_tables(self._rejects).sort_by("line")
        digest = hashlib.sha256(repr((rejects["line"].to_pylist(), rejects["reason"].to_pylist())).encode()).hexdigest()
        landed = {
            "source_object": pa.scalar(self.landed.object),
            "landed_at": pa.scalar(self.landed.at, pa.timestamp("us", tz="UTC")),
        }
        for name, value in landed.items():
            rejects = rejects.append_column(name, pa.repeat(value, rejects.num_rows))
        self.lake.tables.append(quarantine_of(self.contract), rejects, key=f"{self.key}:{digest[:16]}")

    def _within_bounds(self, block: Block, parsed: Parsed) -> pa.Table:
        verdicts = out_of_bounds(self.contract, parsed.rows, self.landed.at)
        self._reject_rows(block, parsed.rows, verdicts["reason"], verdicts["column"])
        return parsed.rows.filter(verdicts["reason"].is_null())

    def _add(self, slab: list[tuple[Block, pa.Table]]) -> None:
        rows = pa.concat_tables([table for _, table in slab]).combine_chunks()
        columns = self.contract.arrow_schema.names
        verdicts = self.writer.classify(rows.select(columns))
        self.duplicates += pc.sum(pc.equal(verdicts, DUPLICATE)).as_py() or 0
        new = rows.filter(verdicts.is_null())
        self.writer.add(new.select(columns))
        self.rows += new.num_rows
        self._advance(new)
        start = 0
        conflicts = pc.if_else(pc.equal(verdicts, DUPLICATE), pa.scalar(None, pa.string()), verdicts)
        for block, table in slab:
            self._reject_rows(
                block, table, conflicts.slice(start, table.num_rows), pa.nulls(table.num_rows, pa.string())
            )
            start += table.num_rows

    def _advance(self, rows: pa.Table) -> None:
        if rows.num_rows and (column := self.contract.day_column):
            newest = pc.max(rows[column]).as_py()
            self.newest = max(self.newest or newest, newest)

    def _reject_rows(self, block: Block, rows: pa.Table, reasons: pa.Array, columns: pa.Array) -> None:
        """Quarantine the rows of a block that have a reason."""
        judged = rows.append_column("reason", reasons).append_column("column", columns)
        bad = judged.filter(judged["reason"].is_valid())
        if bad.num_rows:
            bad = bad.append_column("raw", raw_lines(block, bad["line"]))
            for name in REJECTS.names:
                if name not in bad.column_names:
                    bad = bad.append_column(name, pa.nulls(bad.num_rows, REJECTS.field(name).type))
            self._reject(bad.select(REJECTS.names).cast(REJECTS))

    def _reject(self, rejects: pa.Table) -> None:
        if rejects.num_rows:
            self._rejects.append(rejects)
            self.reasons.update(rejects["reason"].to_pylist())


def _fault(fault: Fault) -> pa.Table:
    return pa.Table.from_pylist([{"line": fault.line, "reason": fault.reason}], schema=REJECTS)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _summary(result: Ingested) -> dict[str, str]:
    return {"fuelline.ingested": json.dumps({k: v for k, v in asdict(result).items() if k != "new"})}


def _from_summary(lake: Lake, contract: Contract, version: TableVersion, landed: _Landed) -> Ingested:
    """What the commit that is already there said of itself: a crash fell between it and the ledger's mark."""
    snapshot = lake.tables.load(contract.table).snapshot_by_id(version.snapshot_id)
    stated: dict[str, Any] = json.loads(snapshot.summary["fuelline.ingested"])  # type: ignore[index, arg-type, union-attr]
    return Ingested(**stated)


def _watermark(source: str, result: Ingested) -> tuple[str, datetime] | None:
    return (source, datetime.fromisoformat(result.watermark)) if result.watermark else None

"""Ingestion: land a file, parse and check its rows, commit the good ones, commit the rejects, write the ledger entry.

Every step has a key and looks for it first, so the next run completes what a crash interrupted: an object that landed
and has no ``ingested`` entry is read again from the raw zone. For every object
landed = committed + quarantined + duplicates. The key holds only what changes the result: the digest of the raw bytes,
the contract's version and the parser's version.

Which rows are rejected can depend on what other writers committed first. So the rejects of an attempt are staged as an
object that the commit of its rows names: only those of the attempt that was committed go to quarantine.
"""

import contextlib
import json
import logging
import secrets
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet

from errors import IntegrityError, ObjectMissing
from lake.contracts.base import Contract
from lake.ingest.classify import RowClassifier
from lake.ingest.files import extension, find_files
from lake.ingest.parse import PARSER_VERSION
from lake.ingest.raw_zone import LandedObject, RawZone, sha256_of, stable_copy
from lake.lake import Lake
from lake.tables.commit import retry_commit
from lake.tables.commit_keys import KeyedCommit

log = logging.getLogger("fuelline.ingest")

INGESTED, REJECTS = "fuelline.ingested", "fuelline.rejects"
"""In a snapshot's summary: what was ingested, as JSON, and the object that holds the rejects."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ingested:
    """The result of ingesting one landed object."""

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
            raise ValueError(f"{self.object}: landed must be committed + quarantined + duplicates, unlike in {self}")

    def encode(self) -> dict[str, str | int | dict[str, int]]:
        """As the ledger and the snapshot's summary keep it."""
        return {name: value for name, value in asdict(self).items() if name != "new"}


@dataclass(frozen=True)
class Ingester:
    """Brings files of one source into the table of one data set."""

    lake: Lake
    contract: Contract
    source: str
    """Names the ledger chain and the folder in the raw zone, for example ``agents``."""

    @property
    def raw_zone(self) -> RawZone:
        return RawZone(self.lake, self.contract.source or self.source, self.source)

    def ingest_folder(self, folder: Path) -> list[Ingested]:
        """Ingest every log file of a folder, in order of their paths; files that were ingested before are skipped.

        Raises ``NothingArrived`` where the folder does not exist or holds no such file, ``SourceError`` where a file
        cannot be read, and ``CommitContended`` where other writers were first 40 times.
        """
        with self.finishing_landed() as results:
            files = find_files(folder)
            for number, path in enumerate(files, start=1):
                done = self.ingest_file(path)
                results.append(done)
                level = logging.INFO if done.new else logging.DEBUG
                message = "%d/%d files: %s rows committed, %s quarantined"
                log.log(level, message, number, len(files), done.committed, done.quarantined)
        return results

    def ingest_files(self, files: Iterable[Path]) -> list[Ingested]:
        """Ingest files one by one; the next one is not taken before the last is ingested. Raises as above."""
        with self.finishing_landed() as results:
            for path in files:
                results.append(self.ingest_file(path))
        return results

    def ingest_file(self, path: Path) -> Ingested:
        """Ingest one file: JSON lines, CSV or Parquet, plain or gzip.

        One that was ingested before costs a digest and a read of the ledger.
        """
        if self.raw_zone.has_size_of(path) and (done := self._earlier_result(sha256_of(path))):
            return done
        with stable_copy(path) as (copy, sha256):
            return self._earlier_result(sha256) or self._ingest(copy, self.raw_zone.land(copy, sha256))

    def is_ingested(self, path: Path) -> bool:
        return self.raw_zone.has_size_of(path) and self._earlier_result(sha256_of(path)) is not None

    @contextlib.contextmanager
    def finishing_landed(self) -> Iterator[list[Ingested]]:
        """First ingest what an earlier run landed and did not ingest, then run the context's own work.

        Such an object is read from the raw zone, because the file that it was copied from may have grown, moved or
        gone. If it fails again, the context's work is done all the same, and the error is raised after it.

        Yields:
            The results so far; the context may add its own.
        """
        done = {entry.payload["sha256"] for entry in self.lake.ledger.entries(self.raw_zone.chain, kind="ingested")}
        results, failure = list[Ingested](), None
        for landed in self.raw_zone.landed():
            try:
                if landed.sha256 not in done and (result := self._finish(landed)):
                    results.append(result)
            except Exception as error:
                log.error("%s cannot be ingested: %s. Every run tries it again", landed.object, type(error).__name__)
                failure = failure or error
        yield results
        if failure:
            raise failure

    def _key(self, sha256: str) -> str:
        return f"ingest:{self.contract.name}:v{self.contract.version}:parser{PARSER_VERSION}:{sha256}"

    def _earlier_result(self, sha256: str) -> Ingested | None:
        entry = self.lake.ledger.find(self.raw_zone.chain, self._key(sha256))
        return Ingested(**entry.payload, new=False) if entry else None

    def _finish(self, landed: LandedObject) -> Ingested | None:
        """Ingest an object of the raw zone; None where it does not exist."""
        with tempfile.TemporaryDirectory(prefix="fuelline-") as folder:
            path = Path(folder, f"log{extension(Path(landed.object))}")
            try:
                self.lake.store.download(landed.object, path)
            except ObjectMissing:
                log.info("%s is skipped: its upload was never finished, or it was deleted", landed.object)
                return None
            log.info("%s landed in an earlier run that did not finish it: it is ingested now", landed.object)
            return self._ingest(path, landed)

    def _ingest(self, path: Path, landed: LandedObject) -> Ingested:
        """Commit a landed object, of which ``path`` is a copy, quarantine its rejects, clean up and note it as done."""
        key = self._key(landed.sha256)
        commit = self._commit(path, landed)
        if INGESTED not in commit.summary:
            raise IntegrityError(f"{self.contract.table}: the commit of {key!r} has no {INGESTED} in its summary")
        if rejects := commit.summary[REJECTS]:
            self._quarantine(key, rejects)
        result = Ingested(**json.loads(commit.summary[INGESTED]))
        for name in self.lake.store.list(_staging(landed)):
            self.lake.store.delete(name)
        self.lake.ledger.append(self.raw_zone.chain, "ingested", key, result.encode())
        return result

    def _commit(self, path: Path, landed: LandedObject) -> KeyedCommit:
        """Classify and commit the rows; begin again whenever another writer was first."""

        def attempt() -> KeyedCommit | None:
            with self.lake.tables.writer(self.contract, self._key(landed.sha256)) as writer:
                if not writer.found:
                    with RowClassifier(self.contract, landed, self.lake.tables, writer) as rows:
                        rows.read(path)
                        result = json.dumps(_result(landed, rows).encode())
                        summary = {INGESTED: result, REJECTS: self._stage(landed, rows)}
                        writer.commit(summary, watermark=(self.source, rows.newest) if rows.newest else None)
                return writer.found

        return retry_commit(attempt, self.contract.table, f"the ingestion of {landed.object}")

    def _stage(self, landed: LandedObject, rows: RowClassifier) -> str:
        """Store an attempt's rejects, so that they survive a crash; the object's name, empty where there are none."""
        if not rows.reasons:
            return ""
        name = f"{_staging(landed)}{secrets.token_hex(8)}.parquet"
        self.lake.store.upload(name, rows.rejects())
        return name

    def _quarantine(self, key: str, staged: str) -> None:
        """Append the staged rejects to the quarantine table, once."""
        quarantine = self.contract.quarantine

        def attempt() -> KeyedCommit | None:
            temporary = tempfile.TemporaryDirectory(prefix="fuelline-")
            with self.lake.tables.writer(quarantine, key) as writer, temporary as folder:
                if writer.found:
                    return writer.found
                rejects = Path(folder, "rejects.parquet")
                try:
                    self.lake.store.download(staged, rejects)
                except ObjectMissing:
                    return None  # another process has quarantined and deleted them: the next attempt finds the key
                for batch in pa.parquet.ParquetFile(rejects).iter_batches():
                    writer.add(pa.Table.from_batches([batch]), drop_known=True)
                return writer.commit({})

        retry_commit(attempt, quarantine.table, f"an append of {key!r}")


def _staging(landed: LandedObject) -> str:
    return f"staged/{landed.sha256}/"


def _result(landed: LandedObject, rows: RowClassifier) -> Ingested:
    quarantined = rows.reasons.total()
    return Ingested(
        object=landed.object,
        sha256=landed.sha256,
        landed=rows.rows + quarantined + rows.duplicates,
        committed=rows.rows,
        quarantined=quarantined,
        duplicates=rows.duplicates,
        reasons=dict(sorted(rows.reasons.items())),
        watermark=rows.newest.isoformat() if rows.newest else "",
    )

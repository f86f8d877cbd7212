"""Ingestion: land, parse, check, split, commit rows, commit quarantine, mark done. In that order, each step keyed.

A crash anywhere heals on the next run, because every step looks for its key first, and because what landed and was not
done is read again from the raw zone. For every object
landed = committed + quarantined + duplicates, and the report says so. The key holds only what changes the result: the
digest of the raw bytes, the contract's version and the parser's version.

Which rows are rejected can depend on what other writers committed first, so the rejects of a try are staged as an
object that the commit of its rows names: only those of the try that won go to quarantine, whatever crashes in between.
"""

import contextlib
import hashlib
import json
import logging
import secrets
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet

from errors import CommitContended, IntegrityError, ObjectMissing
from lake.contracts.base import Contract
from lake.contracts.quarantine import quarantine_of
from lake.ingest.classify import Sorting
from lake.ingest.files import extension, find_files
from lake.ingest.parse import PARSER_VERSION
from lake.lake import Lake
from lake.store.ledger import Entry
from lake.tables.tables import TRIES

log = logging.getLogger("fuelline.ingest")

COPY_BYTES = 8 << 20
INGESTED, REJECTS = "fuelline.ingested", "fuelline.rejects"


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

    def encode(self) -> dict[str, str | int | dict[str, int]]:
        """As the ledger and the snapshot's summary keep it."""
        return {name: value for name, value in asdict(self).items() if name != "new"}


def ingest_folder(lake: Lake, contract: Contract, source: str, folder: Path) -> list[Ingested]:
    """Ingest every log file of a folder, oldest path first; files that are in already are passed over. What an earlier
    run left half done is finished before.

    Args:
        lake: where to.
        contract: the rows' data set.
        source: the ledger chain and raw zone folder, for example ``agents``.
        folder: JSON lines, CSV or Parquet, plain or gzip.

    Raises:
        SourceError: the folder is not there or holds no such file, or a file cannot be read.
        CommitContended: other writers won every race.
    """
    with finishing_landed(lake, contract, source) as results:
        files = find_files(folder)
        for number, path in enumerate(files, start=1):
            done = ingest_file(lake, contract, source, path)
            results.append(done)
            level = logging.INFO if done.new else logging.DEBUG
            told = number, len(files), done.committed, done.quarantined
            log.log(level, "%d/%d files: %s rows in, %s quarantined", *told)
    return results


def ingest_file(lake: Lake, contract: Contract, source: str, path: Path) -> Ingested:
    """Ingest one file; a file whose bytes are in already costs one digest and one look at the ledger."""
    chain = f"sources/{source}"
    if _size_landed(lake, chain, path) and (done := _done(lake, contract, chain, _digest(path))):
        return done
    with _snapshot(path) as (still, sha256):
        if done := _done(lake, contract, chain, sha256):
            return done
        landed = _land(lake, chain, raw_folder(lake, contract, source), still, sha256)
        return _ingest(lake, contract, source, still, landed)


@contextlib.contextmanager
def finishing_landed(lake: Lake, contract: Contract, source: str) -> Iterator[list[Ingested]]:
    """Ingest what an earlier run landed and did not live to mark as done; what that run had done already stays done.
    It is read from the raw zone, because the file that it was copied from may have grown, moved or gone since.

    What fails once more stands in the way of nothing that is done within; its error is raised behind that.
    """
    chain, place = f"sources/{source}", _raw_place(contract, source)
    done = {entry.payload["sha256"] for entry in lake.ledger.entries(chain, kind="ingested")}
    landed = [_landed(entry) for entry in lake.ledger.entries(chain, kind="landed")]
    left = [one for one in landed if one.sha256 not in done and one.object.startswith(place)]
    results, fault = list[Ingested](), None
    for one in left:
        try:
            result = _finish(lake, contract, source, one)
        except Exception as error:
            log.error("%s cannot be ingested: %s. It is tried again each time", one.object, type(error).__name__)
            fault = fault or error
        else:
            results += [result] if result else []
    yield results
    if fault:
        raise fault


def is_in(lake: Lake, contract: Contract, source: str, path: Path) -> bool:
    """Whether these very bytes were ingested before."""
    chain = f"sources/{source}"
    return _size_landed(lake, chain, path) and _done(lake, contract, chain, _digest(path)) is not None


def keep_beside(lake: Lake, contract: Contract, source: str, path: Path, suffix: str) -> str:
    """Put what a file was made of into the raw zone, unchanged; the object's key, which its contents name."""
    key = f"{raw_folder(lake, contract, source)}{_digest(path)[:32]}{suffix}"
    if not lake.store.exists(key):
        lake.store.upload(key, path)
    return key


def raw_folder(lake: Lake, contract: Contract, source: str) -> str:
    """Today's place for what a source brings; by the data set first, which says how long it stays."""
    parts = dict.fromkeys((contract.source or source, source, lake.ledger.clock().date().isoformat()))
    return "raw/" + "".join(f"{part}/" for part in parts)


@dataclass(frozen=True, kw_only=True, slots=True)
class Landed:
    """An object of the raw zone."""

    object: str
    sha256: str
    at: datetime


def _raw_place(contract: Contract, source: str) -> str:
    """Where all that a data set is parsed from stands; a source may bring several data sets."""
    return f"raw/{contract.source or source}/"


def _key(contract: Contract, sha256: str) -> str:
    return f"ingest:{contract.name}:v{contract.version}:parser{PARSER_VERSION}:{sha256}"


def _staging(sha256: str) -> str:
    return f"staged/{sha256}/"


def _done(lake: Lake, contract: Contract, chain: str, sha256: str) -> Ingested | None:
    entry = lake.ledger.find(chain, _key(contract, sha256))
    return Ingested(**entry.payload, new=False) if entry else None


def _size_landed(lake: Lake, chain: str, path: Path) -> bool:
    """Whether a file as long as this one has landed: no other can be in already."""
    size = path.stat().st_size
    return any(entry.payload["bytes"] == size for entry in lake.ledger.entries(chain, kind="landed"))


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def _snapshot(path: Path) -> Iterator[tuple[Path, str]]:
    """A copy and its sha256, because an agent may append to its log while it is read. One core copies, one digests."""
    digest = hashlib.sha256()
    with tempfile.TemporaryDirectory(prefix="fuelline-") as folder:
        still = Path(folder, f"log{extension(path)}")
        with path.open("rb") as source, still.open("wb") as copy, ThreadPoolExecutor(1) as other:
            digested = other.submit(digest.update, b"")
            while chunk := source.read(COPY_BYTES):
                digested.result()  # no more than two chunks in memory
                digested = other.submit(digest.update, chunk)
                copy.write(chunk)
        yield still, digest.hexdigest()


def _land(lake: Lake, chain: str, folder: str, path: Path, sha256: str) -> Landed:
    """Put the bytes unchanged into the raw zone. The ledger fixes name and time first: a retry lands nothing twice."""
    now = lake.ledger.clock()
    name = f"{folder}{sha256[:32]}{extension(path)}"
    facts = {"object": name, "bytes": path.stat().st_size, "landed_at": now.isoformat()}
    entry = lake.ledger.append(chain, "landed", f"landed:{sha256}", facts)
    landed = _landed(entry)
    if not lake.store.exists(landed.object):
        lake.store.upload(landed.object, path)
    return landed


def _landed(entry: Entry) -> Landed:
    return Landed(
        object=entry.payload["object"],
        sha256=entry.key.removeprefix("landed:"),
        at=datetime.fromisoformat(entry.payload["landed_at"]),
    )


def _finish(lake: Lake, contract: Contract, source: str, landed: Landed) -> Ingested | None:
    """Ingest an object of the raw zone; None where it is not there."""
    with tempfile.TemporaryDirectory(prefix="fuelline-") as folder:
        path = Path(folder, f"log{extension(Path(landed.object))}")
        try:
            lake.store.download(landed.object, path)
        except ObjectMissing:
            log.info("%s is passed over: it was announced and never landed, or has been deleted", landed.object)
            return None
        log.info("%s landed in an earlier run that did not finish it: it is ingested now", landed.object)
        return _ingest(lake, contract, source, path, landed)


def _ingest(lake: Lake, contract: Contract, source: str, path: Path, landed: Landed) -> Ingested:
    """Bring a landed object, of which ``path`` is a copy, into the tables, clear up and mark it as done."""
    key = _key(contract, landed.sha256)
    result = _commit(lake, contract, source, key, path, landed)
    for name in lake.store.list(_staging(landed.sha256)):
        lake.store.delete(name)
    lake.ledger.append(f"sources/{source}", "ingested", key, result.encode())
    return result


def _commit(lake: Lake, contract: Contract, source: str, key: str, path: Path, landed: Landed) -> Ingested:
    """Parse, check and commit; begin again whenever another writer was first."""
    for _ in range(TRIES):
        with lake.tables.writer(contract, key) as writer:
            if not writer.found:
                with Sorting(contract, landed.object, landed.at, writer) as sorting:
                    sorting.read(path)
                    result = _result(landed, sorting)
                    summary = {INGESTED: json.dumps(result.encode()), REJECTS: _stage(lake, landed, sorting)}
                    watermark = (source, sorting.newest) if sorting.newest else None
                    if not writer.commit(summary, watermark=watermark):
                        continue
        return _settle(lake, contract, key)
    raise CommitContended(f"{contract.table}: {TRIES} commits of {landed.object} lost their race")


def _result(landed: Landed, sorting: Sorting) -> Ingested:
    quarantined = sum(sorting.reasons.values())
    return Ingested(
        object=landed.object,
        sha256=landed.sha256,
        landed=sorting.rows + quarantined + sorting.duplicates,
        committed=sorting.rows,
        quarantined=quarantined,
        duplicates=sorting.duplicates,
        reasons=dict(sorted(sorting.reasons.items())),
        watermark=sorting.newest.isoformat() if sorting.newest else "",
    )


def _stage(lake: Lake, landed: Landed, sorting: Sorting) -> str:
    """Put a try's rejects where they outlive it; the name, or nothing where there are none."""
    if not sorting.reasons:
        return ""
    name = f"{_staging(landed.sha256)}{secrets.token_hex(8)}.parquet"
    lake.store.upload(name, sorting.rejects())
    return name


def _settle(lake: Lake, contract: Contract, key: str) -> Ingested:
    """Bring the rejects of the try that won to quarantine, and return what it said of itself."""
    summary = lake.tables.summary(contract, key)
    if INGESTED not in summary:
        raise IntegrityError(f"{contract.table}: the commit of {key!r} does not say what it ingested")
    if staged := summary[REJECTS]:
        _quarantine(lake, quarantine_of(contract), key, staged)
    return Ingested(**json.loads(summary[INGESTED]))


def _quarantine(lake: Lake, contract: Contract, key: str, staged: str) -> None:
    for _ in range(TRIES):
        with lake.tables.writer(contract, key) as writer, tempfile.TemporaryDirectory(prefix="fuelline-") as folder:
            if writer.found:
                return
            rejects = Path(folder, "rejects.parquet")
            try:
                lake.store.download(staged, rejects)
            except ObjectMissing:
                continue  # whoever quarantined them has cleared up: the next look finds the key
            for batch in pa.parquet.ParquetFile(rejects).iter_batches():
                writer.add(pa.Table.from_batches([batch]), drop_known=True)
            if writer.commit({}):
                return
    raise CommitContended(f"{contract.table}: {TRIES} commits of {key!r} lost their race")

"""The spool: rows of finished requests in a SQLite file beside the gateway, until they are uploaded to the store.

A request's rows are committed on the event loop: a commit takes 0.1 to 0.3 ms, and handing it to a thread would take as
much again. A commit during a sync would wait for the disk, so the end of an answer awaits ``wait_for_sync`` first.

A commit hands the rows to the operating system (WAL, ``synchronous=NORMAL``): ``kill -9`` loses none of them. Syncing
each to the disk would cost every answer some milliseconds; instead ``sync`` is called before each upload, and a power
cut loses the rows since then. That order also keeps numbers unique: no uploaded object has the number of a row that a
power cut could undo.

The rows of an object are fixed before its upload, so a second attempt has the same name and the same bytes.
"""

import asyncio
import contextlib
import fcntl
import logging
import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TextIO

from errors import SettingsError

log = logging.getLogger("fuelline.gateway")

BATCH_ROWS, BATCH_BYTES = 2_000, 4 << 20
"""Limits of one object; its last row may exceed them."""
DELETE_ROWS = 100
"""Rows deleted in one commit: about a millisecond, for which an answer may have to wait."""
WAL_BYTES = 16 << 20
"""Size above which the write-ahead log is merged into the file and truncated; commits wait for the end of that."""
READER_TIMEOUT_S, WRITER_TIMEOUT_S = 10.0, 0.25
"""How long to wait for a lock of another process: in the uploader's thread, and on the event loop."""
NEXT_BATCH = """
SELECT min(seq), max(seq) FROM (
    SELECT seq, sum(bytes) OVER (ORDER BY seq) - bytes AS before FROM (
        SELECT seq, length(line) AS bytes FROM rows WHERE source = ? ORDER BY seq LIMIT ?
    )
) WHERE before < ?
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class SpoolRow:
    """One row for the lake."""

    source: str
    """``agents``, ``predictions`` or ``feedback``."""
    line: bytes
    """JSON with a newline."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SpoolBatch:
    """The rows of one object: those of ``source`` with numbers from ``first`` to ``last``."""

    source: str
    first: int
    last: int


class Spool:
    """An open spool file. Only the event loop calls ``put``; one other thread calls everything else."""

    def __init__(self, path: Path) -> None:
        """Open the file, or create it. Raises ``SettingsError`` where another uses it, or it cannot be used."""
        self.path = path
        self._writing, self._syncing, self._removed = threading.Lock(), False, 0
        self.error = ""
        """Why the last commit failed; empty if it succeeded."""
        with contextlib.ExitStack() as opened:
            opened.enter_context(_exclusive(path))
            try:
                self._reader = opened.enter_context(_connect(path, READER_TIMEOUT_S))
                self._writer = opened.enter_context(_connect(path, WRITER_TIMEOUT_S))
                self._create_schema()
            except sqlite3.Error as error:
                raise SettingsError(
                    f"cannot use the spool {str(path)!r}: {error}; give another --spool, or move it aside with its"
                    " -wal: a new one starts without its rows that have not been uploaded"
                ) from error
            self._opened = opened.pop_all()

    def _create_schema(self) -> None:
        with self._reader:
            self._reader.executescript(resources.files(__package__).joinpath("spool.sql").read_text())
            self._reader.execute(
                "INSERT INTO gateway SELECT ? WHERE NOT EXISTS (SELECT id FROM gateway)", (secrets.token_hex(6),)
            )
        self.gateway: str = self._reader.execute("SELECT id FROM gateway").fetchone()[0]
        """A random id of this spool, stored in the file."""
        self._stored: int = self._reader.execute("SELECT count(*) FROM rows").fetchone()[0]

    @property
    def depth(self) -> int:
        """Rows that are not uploaded yet."""
        return self._stored - self._removed

    def put(self, rows: Sequence[SpoolRow]) -> None:
        """Commit rows; after that a kill of this process cannot lose them. Raises ``sqlite3.Error``."""
        now = time.time()
        with self._commit() as db:
            db.executemany(
                "INSERT INTO rows (source, at, line) VALUES (?, ?, ?)", [(row.source, now, row.line) for row in rows]
            )
        self._stored += len(rows)

    async def wait_for_sync(self) -> None:
        """Wait for the end of a sync, during which a ``put`` would block on the disk."""
        while self._syncing:
            await asyncio.sleep(0.001)

    def next_batch(self, source: str) -> SpoolBatch | None:
        """The next batch of the source to upload, the same until ``mark_uploaded``; None without rows."""
        found = self._reader.execute(
            "SELECT first, last, source IN settled FROM batches WHERE source = ?", (source,)
        ).fetchone()
        if found:
            batch = SpoolBatch(source=source, first=found[0], last=found[1])
            if not found[2]:
                return batch
            self._delete(batch)  # the process was stopped while it deleted them
        first, last = self._reader.execute(NEXT_BATCH, (source, BATCH_ROWS, BATCH_BYTES)).fetchone()
        if first is None:
            return None
        with self._commit() as db:
            db.execute("INSERT INTO batches VALUES (?, ?, ?)", (source, first, last))
        return SpoolBatch(source=source, first=first, last=last)

    def last_number(self, source: str) -> int:
        """Number of the source's last row; 0 without rows."""
        [(last,)] = self._reader.execute("SELECT coalesce(max(seq), 0) FROM rows WHERE source = ?", (source,))
        return int(last)

    def lines(self, batch: SpoolBatch) -> bytes:
        """The content of a batch's object."""
        found = self._reader.execute(
            "SELECT line FROM rows WHERE source = ? AND seq BETWEEN ? AND ? ORDER BY seq",
            (batch.source, batch.first, batch.last),
        )
        return b"".join(line for (line,) in found)

    def mark_uploaded(self, batches: Sequence[SpoolBatch]) -> None:
        """Delete the rows of these batches, whose objects exist."""
        with self._commit() as db:  # first, so that a batch whose rows are partly deleted is never uploaded again
            db.executemany("INSERT INTO settled VALUES (?)", [(batch.source,) for batch in batches])
        for batch in batches:
            self._delete(batch)

    def sync(self) -> None:
        """Sync all commits to the disk: the write-ahead log is all that a restart needs. Commits go on meanwhile, but
        file systems make other writers wait during a sync, so this syncs only once.
        """
        with self.path.with_name(f"{self.path.name}-wal").open("rb") as log_file:
            with self._mark_syncing():
                os.fsync(log_file.fileno())
            too_large = os.fstat(log_file.fileno()).st_size > WAL_BYTES
        if too_large:
            for _ in range(2):  # the second merges the few rows that arrived during the first
                self._reader.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            with self._mark_syncing(), self._writing:
                self._reader.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def test_write(self) -> None:
        """Commit an update that changes nothing, to see whether writing works again."""
        with contextlib.suppress(sqlite3.Error), self._commit() as db:
            db.execute("UPDATE gateway SET id = id")

    def oldest_age_s(self) -> float:
        """Age of the oldest row in seconds; 0 without rows."""
        [(at,)] = self._reader.execute("SELECT at FROM rows ORDER BY seq LIMIT 1").fetchall() or [(None,)]
        return max(0.0, time.time() - at) if at else 0.0

    def close(self) -> None:
        self._opened.close()

    @contextlib.contextmanager
    def _mark_syncing(self) -> Iterator[None]:
        self._syncing = True
        try:
            yield
        finally:
            self._syncing = False

    def _delete(self, batch: SpoolBatch) -> None:
        """Delete the rows of an uploaded batch, a few at a time, and the batch itself with the last of them."""
        deleted = DELETE_ROWS
        while deleted == DELETE_ROWS:
            with self._commit() as db:
                deleted = db.execute(
                    "DELETE FROM rows WHERE seq IN"
                    " (SELECT seq FROM rows WHERE source = ? AND seq BETWEEN ? AND ? LIMIT ?)",
                    (batch.source, batch.first, batch.last, DELETE_ROWS),
                ).rowcount
                for table in ("batches", "settled") if deleted < DELETE_ROWS else ():
                    db.execute(f"DELETE FROM {table} WHERE source = ?", (batch.source,))
            self._removed += deleted

    @contextlib.contextmanager
    def _commit(self) -> Iterator[sqlite3.Connection]:
        """A transaction that is rolled back on an error. Raises ``sqlite3.Error``."""
        with self._writing:
            try:
                self._writer.execute("BEGIN IMMEDIATE")
                yield self._writer
                self._writer.execute("COMMIT")
            except Exception as error:
                self.error = f"{type(error).__name__}: {error}"
                with contextlib.suppress(sqlite3.Error):
                    self._writer.execute("ROLLBACK")
                log.error("the spool cannot be written: %s", self.error)
                raise
            self.error = ""


@contextlib.contextmanager
def _connect(path: Path, timeout_s: float) -> Iterator[sqlite3.Connection]:
    """A connection in autocommit mode that leaves checkpoints to ``sync``: the writer never waits for the disk."""
    opened = sqlite3.connect(path, timeout=timeout_s, isolation_level=None, check_same_thread=False)
    with contextlib.closing(opened) as db:
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "wal_autocheckpoint=0"):
            db.execute(f"PRAGMA {pragma}").fetchall()
        yield db


def _exclusive(path: Path) -> TextIO:
    """Lock the spool for this process; the lock ends with it, even if it is killed."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.with_name(f"{path.name}.lock").open("w")
    except OSError as error:
        raise SettingsError(f"cannot write the spool {str(path)!r}: {error.strerror}; give another --spool") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise SettingsError(f"another gateway uses the spool {str(path)!r}; give this one its own --spool") from None
    return lock

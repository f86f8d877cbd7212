"""The spool: rows of finished requests in a SQLite file beside the gateway, until an object of the store holds them.

A request's rows are committed on the event loop itself: a commit takes 0.1 to 0.3 ms, and to have a thread do it as
much again. While the file is synced it would wait for the disk, so the end of an answer awaits ``quiet`` first.

A commit hands the rows to the operating system (WAL, ``synchronous=NORMAL``): ``kill -9`` loses none of them. To sync
each to the disk would cost every answer some milliseconds; instead ``sync`` is called before each upload, and a power
cut loses what came since. That order also keeps numbers unique: no object ever bears the number of a row that a power
cut could take back.

What goes into one object is written down before it is uploaded, so a second try has the same name and the same bytes.
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
from pathlib import Path

from errors import SettingsError

log = logging.getLogger("fuelline.gateway")

BATCH_ROWS, BATCH_BYTES = 2_000, 4 << 20
"""What one object holds at most, but for the rest of its last row."""
FORGET_ROWS = 100
"""Rows that leave at once: about a millisecond, for which an answer may have to wait."""
WAL_BYTES = 16 << 20
"""From here on the log is written into the file and cut back; the last of it keeps commits waiting for the disk."""
READER_S, WRITER_S = 10.0, 0.25
"""How long a lock that another process holds is waited for: by the drain's thread, and by the event loop."""
SCHEMA = """
CREATE TABLE IF NOT EXISTS rows (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, source TEXT NOT NULL, at REAL NOT NULL, line BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS rows_of_source ON rows (source, seq);
CREATE TABLE IF NOT EXISTS batches (source TEXT PRIMARY KEY, first INTEGER NOT NULL, last INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS settled (source TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS gateway (id TEXT NOT NULL);
"""
NEXT_BATCH = """
SELECT min(seq), max(seq) FROM (
    SELECT seq, sum(bytes) OVER (ORDER BY seq) - bytes AS before FROM (
        SELECT seq, length(line) AS bytes FROM rows WHERE source = ? ORDER BY seq LIMIT ?
    )
) WHERE before < ?
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One row on its way to the lake."""

    source: str
    """``agents``, ``predictions`` or ``feedback``."""
    line: bytes
    """JSON, with its newline."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """The rows of one object: those of ``source`` from ``first`` to ``last``."""

    source: str
    first: int
    last: int


class Spool:
    """A spool file, open. ``put`` is the event loop's, all else belongs to one other thread."""

    def __init__(self, path: Path) -> None:
        """Open the file, or make it.

        Raises:
            SettingsError: another gateway has it, it cannot be written, or it is damaged.
        """
        self.path = path
        self._writing, self._syncing, self._gone = threading.Lock(), False, 0
        self.fault = ""
        """Why the last commit failed; empty while commits succeed."""
        with contextlib.ExitStack() as opened:
            opened.enter_context(_exclusive(path))
            try:
                self._reader = opened.enter_context(_connect(path, READER_S))
                self._writer = opened.enter_context(_connect(path, WRITER_S))
                self._begin()
            except sqlite3.Error as error:
                raise SettingsError(
                    f"cannot use the spool {str(path)!r}: {error}; give another --spool, or move it aside with its"
                    " -wal: a new one begins without the rows in it that have not been drained"
                ) from error
            self._opened = opened.pop_all()

    def _begin(self) -> None:
        with self._reader:
            self._reader.executescript(SCHEMA)
            self._reader.execute(
                "INSERT INTO gateway SELECT ? WHERE NOT EXISTS (SELECT id FROM gateway)", (secrets.token_hex(6),)
            )
        self.gateway: str = self._reader.execute("SELECT id FROM gateway").fetchone()[0]
        """A random name, the same for as long as the file lives."""
        self._taken: int = self._reader.execute("SELECT count(*) FROM rows").fetchone()[0]

    @property
    def depth(self) -> int:
        """Rows that no object holds yet."""
        return self._taken - self._gone

    def put(self, rows: Sequence[Row]) -> None:
        """Take rows; from here on a kill of this process cannot lose them. Raises ``sqlite3.Error``."""
        now = time.time()
        with self._commit() as db:
            db.executemany(
                "INSERT INTO rows (source, at, line) VALUES (?, ?, ?)", [(row.source, now, row.line) for row in rows]
            )
        self._taken += len(rows)

    async def quiet(self) -> None:
        """Wait until a ``put`` does not have to wait for the disk."""
        while self._syncing:
            await asyncio.sleep(0.001)

    def fix(self, source: str) -> Batch | None:
        """The source's batch that has to be uploaded next; None where it has no rows. The same until it is settled."""
        found = self._reader.execute(
            "SELECT first, last, source IN settled FROM batches WHERE source = ?", (source,)
        ).fetchone()
        if found:
            batch = Batch(source=source, first=found[0], last=found[1])
            if not found[2]:
                return batch
            self._forget(batch)  # it was stopped while it did
        first, last = self._reader.execute(NEXT_BATCH, (source, BATCH_ROWS, BATCH_BYTES)).fetchone()
        if first is None:
            return None
        with self._commit() as db:
            db.execute("INSERT INTO batches VALUES (?, ?, ?)", (source, first, last))
        return Batch(source=source, first=first, last=last)

    def newest(self, source: str) -> int:
        """Number of the source's last row; 0 where it has none."""
        [(last,)] = self._reader.execute("SELECT coalesce(max(seq), 0) FROM rows WHERE source = ?", (source,))
        return int(last)

    def lines(self, batch: Batch) -> bytes:
        """The object of a batch."""
        found = self._reader.execute(
            "SELECT line FROM rows WHERE source = ? AND seq BETWEEN ? AND ? ORDER BY seq",
            (batch.source, batch.first, batch.last),
        )
        return b"".join(line for (line,) in found)

    def settle(self, batches: Sequence[Batch]) -> None:
        """Forget the rows of these batches: their objects exist."""
        with self._commit() as db:  # first of all, so that a batch that is half forgotten is never uploaded again
            db.executemany("INSERT INTO settled VALUES (?)", [(batch.source,) for batch in batches])
        for batch in batches:
            self._forget(batch)

    def sync(self) -> None:
        """Bring all that is committed to the disk: the log, which is all that a restart needs. Commits go on, but
        a file system that syncs makes other writers wait, so this is one sync and no more.
        """
        with self.path.with_name(f"{self.path.name}-wal").open("rb") as log_file:
            with self._quietly():
                os.fsync(log_file.fileno())
            long = os.fstat(log_file.fileno()).st_size > WAL_BYTES
        if long:
            for _ in range(2):  # what came during the first is little
                self._reader.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            with self._quietly(), self._writing:
                self._reader.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def probe(self) -> None:
        """Commit nothing in particular, to see whether it works (again)."""
        with contextlib.suppress(sqlite3.Error), self._commit() as db:
            db.execute("UPDATE gateway SET id = id")

    def oldest_s(self) -> float:
        """Age of the oldest row, seconds; 0 where there is none."""
        [(at,)] = self._reader.execute("SELECT at FROM rows ORDER BY seq LIMIT 1").fetchall() or [(None,)]
        return max(0.0, time.time() - at) if at else 0.0

    def close(self) -> None:
        """Let go of the file."""
        self._opened.close()

    @contextlib.contextmanager
    def _quietly(self) -> Iterator[None]:
        self._syncing = True
        try:
            yield
        finally:
            self._syncing = False

    def _forget(self, batch: Batch) -> None:
        """Delete the rows of a batch that is settled, a few at a time, and the batch with the last of them."""
        gone = FORGET_ROWS
        while gone == FORGET_ROWS:
            with self._commit() as db:
                gone = db.execute(
                    "DELETE FROM rows WHERE seq IN"
                    " (SELECT seq FROM rows WHERE source = ? AND seq BETWEEN ? AND ? LIMIT ?)",
                    (batch.source, batch.first, batch.last, FORGET_ROWS),
                ).rowcount
                for table in ("batches", "settled") if gone < FORGET_ROWS else ():
                    db.execute(f"DELETE FROM {table} WHERE source = ?", (batch.source,))
            self._gone += gone

    @contextlib.contextmanager
    def _commit(self) -> Iterator[sqlite3.Connection]:
        """A transaction; whole or not at all. Raises ``sqlite3.Error``."""
        with self._writing:
            try:
                self._writer.execute("BEGIN IMMEDIATE")
                yield self._writer
                self._writer.execute("COMMIT")
            except Exception as error:
                self.fault = f"{type(error).__name__}: {error}"
                with contextlib.suppress(sqlite3.Error):
                    self._writer.execute("ROLLBACK")
                log.error("the spool cannot be written: %s", self.fault)
                raise
            self.fault = ""


@contextlib.contextmanager
def _connect(path: Path, timeout_s: float) -> Iterator[sqlite3.Connection]:
    """A connection in autocommit mode that leaves checkpoints to ``sync``: the writer never waits for the disk."""
    opened = sqlite3.connect(path, timeout=timeout_s, isolation_level=None, check_same_thread=False)
    with contextlib.closing(opened) as db:
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "wal_autocheckpoint=0"):
            db.execute(f"PRAGMA {pragma}").fetchall()
        yield db


def _exclusive(path: Path):  # type: ignore[no-untyped-def]
    """Hold the spool for this process; the lock goes with it, however it ends."""
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

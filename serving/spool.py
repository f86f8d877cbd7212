"""The spool: rows of finished requests in a SQLite file beside the gateway, until an object of the store holds them.

One thread writes. It commits whatever has queued up while it was busy, so a burst shares commits and a lone request
waits for nobody. A commit hands the rows to the operating system (WAL, ``synchronous=NORMAL``): ``kill -9`` loses none
of them. To sync each to the disk would cost every answer some milliseconds; instead ``sync`` is called before each
upload, and a power cut loses what came since. That order also keeps numbers unique: no object ever bears the number of
a row that a power cut could take back.

What goes into one object is written down before it is uploaded, so a second try has the same name and the same bytes.
"""

import asyncio
import contextlib
import fcntl
import logging
import os
import queue
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from errors import SettingsError

log = logging.getLogger("fuelline.gateway")

BATCH_ROWS, BATCH_BYTES = 2_000, 4 << 20
"""What one object holds at most, but for the rest of its last row."""
COMMIT_ROWS = 512
"""Requests that share a commit at most."""
WAL_BYTES = 16 << 20
"""From here on the log is written into the file and cut back; the last of it stops the writer for some milliseconds."""
SCHEMA = """
CREATE TABLE IF NOT EXISTS rows (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, source TEXT NOT NULL, at REAL NOT NULL, line BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS rows_of_source ON rows (source, seq);
CREATE TABLE IF NOT EXISTS batches (source TEXT PRIMARY KEY, first INTEGER NOT NULL, last INTEGER NOT NULL);
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


@dataclass(frozen=True, kw_only=True, slots=True)
class _Work:
    """Something to do within the next commit, and whom to tell."""

    do: Callable[[sqlite3.Connection], None]
    done: "Future[None] | asyncio.Future[None]"


class Spool:
    """A spool file, open. ``put`` belongs to the event loop's thread, all else to one other thread."""

    def __init__(self, path: Path) -> None:
        """Open the file, or make it.

        Raises:
            SettingsError: another gateway has it, or it cannot be written.
        """
        self.path = path
        self._lock = _exclusive(path)
        self._reader = _connect(path)
        with self._reader:
            self._reader.executescript(SCHEMA)
            self._reader.execute(
                "INSERT INTO gateway SELECT ? WHERE NOT EXISTS (SELECT id FROM gateway)", (secrets.token_hex(6),)
            )
        self.gateway: str = self._reader.execute("SELECT id FROM gateway").fetchone()[0]
        """A random name, the same for as long as the file lives."""
        self.depth: int = self._reader.execute("SELECT count(*) FROM rows").fetchone()[0]
        """Rows that no object holds yet."""
        self.fault = ""
        """Why the last commit failed; empty while commits succeed."""
        self._queue: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write, name="spool", daemon=True)
        self._thread.start()

    def put(self, rows: Sequence[Row]) -> "asyncio.Future[None]":
        """Take rows; done once a kill of this process cannot lose them. Fails with ``sqlite3.Error``."""
        done = asyncio.get_running_loop().create_future()
        now = time.time()
        values = [(row.source, now, row.line) for row in rows]

        def insert(db: sqlite3.Connection) -> None:
            db.executemany("INSERT INTO rows (source, at, line) VALUES (?, ?, ?)", values)
            self.depth += len(values)

        self._queue.put(_Work(do=insert, done=done))
        return done

    def fix(self, source: str) -> Batch | None:
        """The source's batch that has to be uploaded next; None where it has no rows. The same until it is settled."""
        fixed = self._reader.execute("SELECT first, last FROM batches WHERE source = ?", (source,)).fetchone()
        if fixed:
            return Batch(source=source, first=fixed[0], last=fixed[1])
        first, last = self._reader.execute(NEXT_BATCH, (source, BATCH_ROWS, BATCH_BYTES)).fetchone()
        if first is None:
            return None
        self._within_commit("INSERT INTO batches VALUES (?, ?, ?)", (source, first, last))
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

        def forget(db: sqlite3.Connection) -> None:
            for batch in batches:
                db.execute("DELETE FROM batches WHERE source = ?", (batch.source,))
                bounds = (batch.source, batch.first, batch.last)
                gone = db.execute("DELETE FROM rows WHERE source = ? AND seq BETWEEN ? AND ?", bounds)
                self.depth -= gone.rowcount

        self._do(forget)

    def sync(self) -> None:
        """Bring all that is committed to the disk: the log, which is all that a restart needs. The writer goes on, but
        a file system that syncs makes other writers wait, so this is one sync and no more.
        """
        with self.path.with_name(f"{self.path.name}-wal").open("rb") as log_file:
            os.fsync(log_file.fileno())
            long = os.fstat(log_file.fileno()).st_size > WAL_BYTES
        for how in ("PASSIVE", "TRUNCATE") if long else ():
            self._reader.execute(f"PRAGMA wal_checkpoint({how})").fetchall()

    def probe(self) -> None:
        """Commit nothing in particular, to see whether it works (again)."""
        with contextlib.suppress(sqlite3.Error):
            self._within_commit("UPDATE gateway SET id = id", ())

    def oldest_s(self) -> float:
        """Age of the oldest row, seconds; 0 where there is none."""
        [(at,)] = self._reader.execute("SELECT at FROM rows ORDER BY seq LIMIT 1").fetchall() or [(None,)]
        return max(0.0, time.time() - at) if at else 0.0

    def close(self) -> None:
        """Commit what is queued and let go of the file."""
        self._queue.put(None)
        self._thread.join()
        self._reader.close()
        self._lock.close()

    def _within_commit(self, statement: str, values: tuple[object, ...]) -> None:
        def execute(db: sqlite3.Connection) -> None:
            db.execute(statement, values)

        self._do(execute)

    def _do(self, do: Callable[[sqlite3.Connection], None]) -> None:
        done: Future[None] = Future()
        self._queue.put(_Work(do=do, done=done))
        done.result()

    def _write(self) -> None:
        """The writer's life: wait for work, take all there is, commit it."""
        with contextlib.closing(_connect(self.path)) as db:
            while (first := self._queue.get()) is not None:
                works, last = [first], False
                while len(works) < COMMIT_ROWS and not last and not self._queue.empty():
                    following = self._queue.get()
                    last = following is None
                    works += [following] if following else []
                _tell(works, self._commit(db, works))
                if last:
                    return

    def _commit(self, db: sqlite3.Connection, works: list[_Work]) -> sqlite3.Error | None:
        depth = self.depth
        try:
            db.execute("BEGIN IMMEDIATE")
            for work in works:
                work.do(db)
            db.execute("COMMIT")
        except sqlite3.Error as error:
            self.depth, self.fault = depth, f"{type(error).__name__}: {error}"
            with contextlib.suppress(sqlite3.Error):
                db.execute("ROLLBACK")
            log.error("the spool cannot be written: %s", self.fault)
            return error
        self.fault = ""
        return None


def _tell(works: list[_Work], error: Exception | None) -> None:
    """Wake whoever waits; an event loop once for all that wait in it."""
    waiting: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
    for work in works:
        if isinstance(work.done, asyncio.Future):
            waiting.setdefault(work.done.get_loop(), []).append(work.done)
        else:
            _resolve([work.done], error)
    for loop, futures in waiting.items():
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(_resolve, futures, error)


def _resolve(futures: "Sequence[Future[None] | asyncio.Future[None]]", error: Exception | None) -> None:
    for future in futures:
        if future.done():
            continue  # whoever waited has gone
        if error:
            future.set_exception(error)
        else:
            future.set_result(None)


def _connect(path: Path) -> sqlite3.Connection:
    """A connection in autocommit mode that leaves checkpoints to ``sync``: the writer never waits for the disk."""
    db = sqlite3.connect(path, timeout=10, isolation_level=None, check_same_thread=False)
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "wal_autocheckpoint=0"):
        db.execute(f"PRAGMA {pragma}").fetchall()
    return db


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

"""The spool and its drain: rows survive a kill, become each one object exactly, and wait while the store is away."""

import asyncio
import contextlib
import hashlib
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

import serving.gateway.spool
from errors import PeerError, SettingsError
from lake.lake import Lake
from lake.store.objects import FolderStore
from serving.gateway.metrics import Metrics
from serving.gateway.spool import Row, Spool
from serving.gateway.uploader import Drain

WRITER = """
import itertools, sys
from pathlib import Path
from serving.gateway.spool import Row, Spool
spool = Spool(Path(sys.argv[1]))
for n in itertools.count():
    spool.put([Row(source="agents", line=b"%d\\n" % n)])
    print(n, flush=True)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spool.db"


@pytest.fixture
def spool(path: Path) -> Iterator[Spool]:
    opened = Spool(path)
    yield opened
    opened.close()


def put(spool: Spool, *lines: str, source: str = "agents") -> None:
    """Put these lines, a request each."""
    for line in lines:
        spool.put([Row(source=source, line=f"{line}\n".encode())])


def drain_of(spool: Spool, lake: Lake) -> Drain:
    return Drain(spool, lake.settings, Metrics())


def objects(lake: Lake, source: str = "agents") -> dict[str, bytes]:
    """What lies in the inbox, by name."""
    return {key.rpartition("/")[2]: lake.store.read(key) for key in lake.store.list(f"inbox/{source}/")}


def test_what_was_put_becomes_one_object_a_source_and_leaves_the_spool(lake: Lake, spool: Spool) -> None:
    put(spool, "a", "b")
    put(spool, "up", source="feedback")
    put(spool, "c")
    drain_of(spool, lake).drain()
    for source, numbers, data in (
        ("agents", "0000000000000001-0000000000000004", b"a\nb\nc\n"),
        ("feedback", "0000000000000003-0000000000000003", b"up\n"),
    ):
        digest = hashlib.sha256(data).hexdigest()[:12]
        assert objects(lake, source) == {f"{numbers}-{digest}.jsonl": data}
    assert spool.depth == 0
    drain_of(spool, lake).drain()
    assert len(objects(lake)) == 1


def test_a_batch_that_was_half_forgotten_when_killed_is_not_uploaded_again(
    lake: Lake, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving.gateway.spool, "FORGET_ROWS", 2)
    first, commits, commit = Spool(path), iter(("fix", "settle", "forget two")), Spool._commit
    put(first, *"abcde")

    def dies(spool: Spool) -> AbstractContextManager[sqlite3.Connection]:
        if not next(commits, ""):
            raise PeerError("killed")
        return commit(spool)

    with monkeypatch.context() as patch:
        patch.setattr(Spool, "_commit", dies)
        with pytest.raises(PeerError, match="killed"):
            drain_of(first, lake).drain()
    assert first.depth == 3
    first.close()
    again = Spool(path)
    put(again, "f")
    drain_of(again, lake).drain()
    assert sorted(objects(lake).values()) == [b"a\nb\nc\nd\ne\n", b"f\n"]
    assert again.depth == 0
    again.close()


def test_many_requests_at_once_are_all_kept(lake: Lake, spool: Spool) -> None:
    put(spool, *map(str, range(3_000)))
    assert spool.depth == 3_000
    drain_of(spool, lake).drain()
    found = b"".join(objects(lake).values()).split()
    assert sorted(map(int, found)) == list(range(3_000))
    assert len(objects(lake)) == 2  # bounded by BATCH_ROWS


def test_an_object_is_bounded_in_bytes(lake: Lake, spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving.gateway.spool, "BATCH_BYTES", 10)
    put(spool, "1234567", "1234567", "1234567890123")
    drain_of(spool, lake).drain()
    assert [len(data) for data in objects(lake).values()] == [16, 14]


def test_an_upload_that_is_tried_again_has_the_same_name_and_bytes(
    lake: Lake, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Spool(path)
    put(first, "a", "b")
    with monkeypatch.context() as patch:
        patch.setattr(Spool, "settle", lambda *_: (_ for _ in ()).throw(PeerError("killed after the upload")))
        with pytest.raises(PeerError):
            drain_of(first, lake).drain()
    before = objects(lake)
    put(first, "c")
    first.close()
    again = Spool(path)
    assert again.gateway == first.gateway
    drain_of(again, lake).drain()
    again.close()
    assert before.items() <= objects(lake).items()
    assert sorted(objects(lake).values()) == [b"a\nb\n", b"c\n"]


def test_while_the_store_is_away_the_spool_keeps_its_rows(
    lake: Lake, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(spool, "a")
    with monkeypatch.context() as patch:
        patch.setattr(FolderStore, "create", lambda *_: (_ for _ in ()).throw(PeerError("away")))
        with pytest.raises(PeerError):
            drain_of(spool, lake).drain()
        put(spool, "b")
    assert spool.depth == 2
    assert spool.oldest_s() > 0
    drain_of(spool, lake).drain()
    assert list(objects(lake).values()) == [b"a\n", b"b\n"]
    assert spool.oldest_s() == 0


def test_a_killed_writer_loses_nothing_that_it_was_told_is_safe(path: Path) -> None:
    writer = subprocess.Popen([sys.executable, "-W", "ignore", "-c", WRITER, str(path)], stdout=subprocess.PIPE)
    assert writer.stdout
    with writer.stdout as said:
        for line in said:
            if int(line) == 500:
                writer.send_signal(signal.SIGKILL)
                break
        safe = max([500, *(int(line) for line in said.read().split(b"\n") if line)])
    writer.wait()
    spool = Spool(path)
    assert spool.depth >= safe + 1
    put(spool, "next")
    kept = []
    while batch := spool.fix("agents"):
        kept += spool.lines(batch).split()
        spool.settle([batch])
    assert kept == [*(b"%d" % n for n in range(len(kept) - 1)), b"next"]
    spool.close()


def test_a_spool_belongs_to_one_gateway(spool: Spool, path: Path) -> None:
    with pytest.raises(SettingsError, match="another gateway uses the spool"):
        Spool(path)


@pytest.mark.parametrize("damage", ["no database", "cut off", "a folder"])
def test_a_spool_that_is_damaged_is_refused_with_what_to_do(path: Path, damage: str) -> None:
    with contextlib.closing(Spool(path)) as whole:
        put(whole, *"abc")
    if damage == "a folder":
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes(b"x" * 8_192 if damage == "no database" else path.read_bytes()[:5_000])
    for _ in range(2):  # the second would be told of another gateway, if the first had kept the lock
        with pytest.raises(SettingsError, match=r"spool.db.*move it aside.*rows in it that have not been drained"):
            Spool(path)


def test_numbers_are_never_given_twice(lake: Lake, path: Path) -> None:
    for _ in range(3):
        spool = Spool(path)
        put(spool, "a")
        drain_of(spool, lake).drain()
        spool.close()
    assert [name[:16] for name in objects(lake)] == ["0000000000000001", "0000000000000002", "0000000000000003"]


def test_the_log_is_cut_back_once_it_is_long(lake: Lake, spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving.gateway.spool, "WAL_BYTES", 0)
    put(spool, *map(str, range(500)))
    spool.sync()
    assert spool.path.with_name("spool.db-wal").stat().st_size == 0
    put(spool, "b")
    drain_of(spool, lake).drain()
    assert spool.depth == 0


def test_a_commit_that_fails_is_told_and_the_next_one_that_does_not_clears_it(spool: Spool) -> None:
    broken = [Row(source=None, line=b"x")]  # type: ignore[arg-type]
    with pytest.raises(Exception, match="NOT NULL"):
        spool.put(broken)
    assert "NOT NULL" in spool.fault
    assert spool.depth == 0
    put(spool, "a")
    assert spool.fault == ""
    assert spool.depth == 1


def test_while_the_file_is_synced_whoever_is_quiet_waits(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    put(spool, "a")
    order: list[str] = []

    async def both() -> None:
        began, go = threading.Event(), threading.Event()

        def slow(_: int) -> None:
            began.set()
            go.wait(10)
            order.append("synced")

        monkeypatch.setattr(os, "fsync", slow)
        syncing = asyncio.create_task(asyncio.to_thread(spool.sync))
        await asyncio.to_thread(began.wait, 10)
        waiting = asyncio.create_task(spool.quiet())
        await asyncio.sleep(0.05)
        order.append("waiting" if not waiting.done() else "not waiting")
        go.set()
        await waiting
        order.append("quiet")
        await syncing

    asyncio.run(both())
    assert order == ["waiting", "synced", "quiet"]


def test_a_lock_of_another_process_holds_up_a_commit_for_a_moment_only(spool: Spool) -> None:
    with contextlib.closing(sqlite3.connect(spool.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            put(spool, "a")
        other.execute("ROLLBACK")
    put(spool, "b")
    assert spool.depth == 1

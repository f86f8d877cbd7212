"""The spool and its uploader: rows survive a kill, are uploaded exactly once, and wait for an unavailable store."""

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
from lake.store.folder import FolderStore
from serving.gateway.metrics import GatewayMetrics
from serving.gateway.spool import Spool, SpoolRow
from serving.gateway.uploader import SpoolUploader

WRITER = """
import itertools, sys
from pathlib import Path
from serving.gateway.spool import Spool, SpoolRow
spool = Spool(Path(sys.argv[1]))
for n in itertools.count():
    spool.put([SpoolRow(source="agents", line=b"%d\\n" % n)])
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
    """Put these lines, one request each."""
    for line in lines:
        spool.put([SpoolRow(source=source, line=f"{line}\n".encode())])


def upload(spool: Spool, lake: Lake) -> None:
    SpoolUploader(spool, lake.settings, GatewayMetrics()).upload()


def objects(lake: Lake, source: str = "agents") -> dict[str, bytes]:
    """The objects in the inbox, by name."""
    return {key.rpartition("/")[2]: lake.store.read(key) for key in lake.store.list(f"inbox/{source}/")}


def test_rows_become_one_object_per_source_and_leave_the_spool(lake: Lake, spool: Spool) -> None:
    put(spool, "a", "b")
    put(spool, "up", source="feedback")
    put(spool, "c")
    upload(spool, lake)
    for source, numbers, data in (
        ("agents", "0000000000000001-0000000000000004", b"a\nb\nc\n"),
        ("feedback", "0000000000000003-0000000000000003", b"up\n"),
    ):
        digest = hashlib.sha256(data).hexdigest()[:12]
        assert objects(lake, source) == {f"{numbers}-{digest}.jsonl": data}
    assert spool.depth == 0
    upload(spool, lake)
    assert len(objects(lake)) == 1


def test_a_batch_that_was_partly_deleted_when_killed_is_not_uploaded_again(
    lake: Lake, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving.gateway.spool, "DELETE_ROWS", 2)
    first, commits, commit = Spool(path), iter(("next_batch", "mark_uploaded", "delete two")), Spool._commit
    put(first, *"abcde")

    def dies(spool: Spool) -> AbstractContextManager[sqlite3.Connection]:
        if not next(commits, ""):
            raise PeerError("killed")
        return commit(spool)

    with monkeypatch.context() as patch:
        patch.setattr(Spool, "_commit", dies)
        with pytest.raises(PeerError, match="killed"):
            upload(first, lake)
    assert first.depth == 3
    first.close()
    again = Spool(path)
    put(again, "f")
    upload(again, lake)
    assert sorted(objects(lake).values()) == [b"a\nb\nc\nd\ne\n", b"f\n"]
    assert again.depth == 0
    again.close()


def test_many_requests_are_all_kept(lake: Lake, spool: Spool) -> None:
    put(spool, *map(str, range(3_000)))
    assert spool.depth == 3_000
    upload(spool, lake)
    found = b"".join(objects(lake).values()).split()
    assert sorted(map(int, found)) == list(range(3_000))
    assert len(objects(lake)) == 2  # bounded by BATCH_ROWS


def test_an_object_is_limited_in_bytes(lake: Lake, spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving.gateway.spool, "BATCH_BYTES", 10)
    put(spool, "1234567", "1234567", "1234567890123")
    upload(spool, lake)
    assert [len(data) for data in objects(lake).values()] == [16, 14]


def test_a_repeated_upload_has_the_same_name_and_bytes(lake: Lake, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Spool(path)
    put(first, "a", "b")
    with monkeypatch.context() as patch:
        patch.setattr(Spool, "mark_uploaded", lambda *_: (_ for _ in ()).throw(PeerError("killed after the upload")))
        with pytest.raises(PeerError):
            upload(first, lake)
    before = objects(lake)
    put(first, "c")
    first.close()
    again = Spool(path)
    assert again.gateway == first.gateway
    upload(again, lake)
    again.close()
    assert before.items() <= objects(lake).items()
    assert sorted(objects(lake).values()) == [b"a\nb\n", b"c\n"]


def test_the_spool_keeps_its_rows_while_the_store_is_unavailable(
    lake: Lake, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(spool, "a")
    with monkeypatch.context() as patch:
        patch.setattr(FolderStore, "create", lambda *_: (_ for _ in ()).throw(PeerError("unavailable")))
        with pytest.raises(PeerError):
            upload(spool, lake)
        put(spool, "b")
    assert spool.depth == 2
    assert spool.oldest_age_s() > 0
    upload(spool, lake)
    assert list(objects(lake).values()) == [b"a\n", b"b\n"]
    assert spool.oldest_age_s() == 0


def test_a_killed_writer_loses_no_committed_row(path: Path) -> None:
    writer = subprocess.Popen([sys.executable, "-W", "ignore", "-c", WRITER, str(path)], stdout=subprocess.PIPE)
    assert writer.stdout
    with writer.stdout as printed:
        for line in printed:
            if int(line) == 500:
                writer.send_signal(signal.SIGKILL)
                break
        committed = max([500, *(int(line) for line in printed.read().split(b"\n") if line)])
    writer.wait()
    spool = Spool(path)
    assert spool.depth >= committed + 1
    put(spool, "next")
    kept = []
    while batch := spool.next_batch("agents"):
        kept += spool.lines(batch).split()
        spool.mark_uploaded([batch])
    assert kept == [*(b"%d" % n for n in range(len(kept) - 1)), b"next"]
    spool.close()


def test_a_spool_belongs_to_one_gateway(spool: Spool, path: Path) -> None:
    with pytest.raises(SettingsError, match="another gateway uses the spool"):
        Spool(path)


@pytest.mark.parametrize("damage", ["no database", "truncated", "a folder"])
def test_a_damaged_spool_is_refused_with_the_remedy(path: Path, damage: str) -> None:
    with contextlib.closing(Spool(path)) as whole:
        put(whole, *"abc")
    if damage == "a folder":
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes(b"x" * 8_192 if damage == "no database" else path.read_bytes()[:5_000])
    for _ in range(2):  # the second would report another gateway if the first had kept the lock
        with pytest.raises(SettingsError, match=r"spool.db.*move it aside.*rows that have not been uploaded"):
            Spool(path)


def test_row_numbers_are_never_used_twice(lake: Lake, path: Path) -> None:
    for _ in range(3):
        spool = Spool(path)
        put(spool, "a")
        upload(spool, lake)
        spool.close()
    assert [name[:16] for name in objects(lake)] == ["0000000000000001", "0000000000000002", "0000000000000003"]


def test_the_write_ahead_log_is_truncated_once_it_is_large(
    lake: Lake, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving.gateway.spool, "WAL_BYTES", 0)
    put(spool, *map(str, range(500)))
    spool.sync()
    assert spool.path.with_name("spool.db-wal").stat().st_size == 0
    put(spool, "b")
    upload(spool, lake)
    assert spool.depth == 0


def test_a_failed_commit_is_reported_until_the_next_that_succeeds(spool: Spool) -> None:
    broken = [SpoolRow(source=None, line=b"x")]  # type: ignore[arg-type]
    with pytest.raises(Exception, match="NOT NULL"):
        spool.put(broken)
    assert "NOT NULL" in spool.error
    assert spool.depth == 0
    put(spool, "a")
    assert spool.error == ""
    assert spool.depth == 1


def test_wait_for_sync_returns_only_after_the_sync(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    put(spool, "a")
    order: list[str] = []

    async def sync_and_wait() -> None:
        began, go = threading.Event(), threading.Event()

        def slow(_: int) -> None:
            began.set()
            go.wait(10)
            order.append("synced")

        monkeypatch.setattr(os, "fsync", slow)
        syncing = asyncio.create_task(asyncio.to_thread(spool.sync))
        await asyncio.to_thread(began.wait, 10)
        waiting = asyncio.create_task(spool.wait_for_sync())
        await asyncio.sleep(0.05)
        order.append("waiting" if not waiting.done() else "not waiting")
        go.set()
        await waiting
        order.append("returned")
        await syncing

    asyncio.run(sync_and_wait())
    assert order == ["waiting", "synced", "returned"]


def test_a_commit_waits_only_briefly_for_a_lock_of_another_process(spool: Spool) -> None:
    with contextlib.closing(sqlite3.connect(spool.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            put(spool, "a")
        other.execute("ROLLBACK")
    put(spool, "b")
    assert spool.depth == 1

"""The object store, over a folder and over S3: every operation, and the conditional ones under contention."""

import errno
import itertools
import os
import signal
import sys
from pathlib import Path
from subprocess import run

import pytest

from errors import ObjectChanged, ObjectExists, ObjectMissing, SettingsError
from lake.store.folder import FolderStore
from lake.store.objects import SCRATCH, ObjectStore
from lake.store.open import open_store
from lake.store.s3 import S3Store
from settings import Settings, read_settings
from tests.lake.processes import at_once


@pytest.fixture
def settings(disk_path: Path) -> Settings:
    """Settings of a fresh embedded lake on a disk: these tests are about what reaches it."""
    return read_settings(home=disk_path / "home", lake="test", cache=disk_path / "cache")


@pytest.fixture(params=["folder", "s3"])
def store_settings(request: pytest.FixtureRequest) -> Settings:
    return request.getfixturevalue("settings" if request.param == "folder" else "s3_settings")


@pytest.fixture
def store(store_settings: Settings) -> ObjectStore:
    return open_store(store_settings)


def test_an_object_is_read_as_it_was_written(store: ObjectStore) -> None:
    store.write("a/b", b"one")
    store.write("a/b", b"two")
    assert store.read("a/b") == b"two"
    assert store.exists("a/b")


def test_a_missing_object_raises_object_missing(store: ObjectStore, tmp_path: Path) -> None:
    store.write("a/b", b"")
    for key in ("none", "a", "a/b/c"):
        assert not store.exists(key)
        with pytest.raises(ObjectMissing, match=key):
            store.read(key)
    with pytest.raises(ObjectMissing):
        store.download("none", tmp_path / "x")


def test_deleting_twice_is_no_error(store: ObjectStore) -> None:
    store.write("a", b"x")
    store.delete("a")
    store.delete("a")
    assert not store.exists("a")


def test_create_needs_a_free_key(store: ObjectStore) -> None:
    etag = store.create("a", b"first")
    with pytest.raises(ObjectExists):
        store.create("a", b"second")
    assert store.read_versioned("a") == (b"first", etag)


def test_replace_needs_the_etag_of_the_stored_version(store: ObjectStore) -> None:
    first = store.create("a", b"1")
    second = store.replace("a", b"2", first)
    with pytest.raises(ObjectChanged):
        store.replace("a", b"3", first)
    assert store.read_versioned("a") == (b"2", second)
    store.delete("a")
    with pytest.raises(ObjectChanged):
        store.replace("a", b"3", second)


def test_keys_are_listed_in_order_by_any_prefix(store: ObjectStore) -> None:
    for key in ("b/2", "b/10", "a", "bc", "b/x/y"):
        store.write(key, b"")
    assert list(store.list("")) == ["a", "b/10", "b/2", "b/x/y", "bc"]
    assert list(store.list("b")) == ["b/10", "b/2", "b/x/y", "bc"]
    assert list(store.list("b/")) == ["b/10", "b/2", "b/x/y"]
    assert list(store.list("b/1")) == ["b/10"]
    assert list(store.list("none/")) == []


def test_uploaded_files_are_downloaded_unchanged(store: ObjectStore, tmp_path: Path) -> None:
    data = os.urandom(9 << 20)
    (tmp_path / "up").write_bytes(data)
    store.upload("big", tmp_path / "up")
    (tmp_path / "up").unlink()
    store.download("big", tmp_path / "down")
    assert (tmp_path / "down").read_bytes() == data


def test_a_file_on_another_file_system_can_be_uploaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FolderStore(tmp_path / "store")

    def refuse(*_: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    (tmp_path / "up").write_bytes(b"data")
    monkeypatch.setattr(os, "link", refuse)
    store.upload("up", tmp_path / "up")
    assert store.read("up") == b"data"
    assert not list((tmp_path / "store" / SCRATCH).iterdir())


@pytest.mark.parametrize("key", ["", "/etc/passwd", "../x", "a/../../x", "a//b", "a/", ".", f"{SCRATCH}/x"])
def test_keys_cannot_leave_the_store(store: ObjectStore, key: str) -> None:
    for verb in (store.read, store.exists, store.delete, lambda k: store.write(k, b""), lambda k: store.create(k, b"")):
        with pytest.raises(ValueError, match="not a key"):
            verb(key)
    with pytest.raises(ValueError, match="not a key"):
        store.upload(key, Path(__file__))
    if key not in ("", "a/"):
        with pytest.raises(ValueError, match="not a key"):
            list(store.list(key))


def compete(store_settings: Settings, names: int, worker: int) -> list[int]:
    store = open_store(store_settings)
    won = []
    for number in range(names):
        try:
            store.create(f"contested/{number}", f"{worker}".encode())
            won.append(number)
        except ObjectExists:
            pass
    return won


def test_of_several_concurrent_creates_one_wins_each_key(store_settings: Settings) -> None:
    won = at_once(compete, [(store_settings, 25, worker) for worker in range(4)])
    assert sorted(itertools.chain(*won)) == list(range(25))
    store = open_store(store_settings)
    for worker, names in enumerate(won):
        assert all(store.read(f"contested/{name}") == f"{worker}".encode() for name in names)


def count_up(store_settings: Settings, times: int) -> None:
    store = open_store(store_settings)
    while times:
        data, etag = store.read_versioned("counter")
        try:
            store.replace("counter", str(int(data) + 1).encode(), etag)
            times -= 1
        except ObjectChanged:
            continue


def test_concurrent_replacements_lose_no_update(store_settings: Settings) -> None:
    open_store(store_settings).create("counter", b"0")
    at_once(count_up, [(store_settings, 10)] * 4)
    assert open_store(store_settings).read("counter") == b"40"


KILLED_IN_CREATE = """
import os, signal, sys
from pathlib import Path
from lake.store.folder import FolderStore
store, point = FolderStore(Path(sys.argv[1])), int(sys.argv[2])
count = 0
def watch(event, arguments):
    global count
    if event in ("open", "os.link", "os.rename", "os.remove", "os.mkdir") and sys.argv[1] in str(arguments[0]):
        count += 1
        if count == point:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(watch)
store.create("deep/name", b"whole")
"""


def test_a_kill_inside_create_leaves_no_object_or_a_whole_one(tmp_path: Path) -> None:
    points = 0
    while True:
        root = tmp_path / str(points)
        points += 1
        done = run([sys.executable, "-c", KILLED_IN_CREATE, str(root), str(points)], check=False)
        store = FolderStore(root)
        if store.exists("deep/name"):
            assert store.read("deep/name") == b"whole"
        else:
            store.create("deep/name", b"whole")
        assert list(store.list("")) == ["deep/name"]
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL
    assert points > 4


def test_the_marker_of_an_empty_folder_is_not_listed(s3_settings: Settings) -> None:
    store = open_store(s3_settings)
    assert isinstance(store, S3Store)
    store.create("warehouse/a/data", b"x")
    store.client.put_object(Bucket=store.bucket, Key=f"{store.prefix}warehouse/a/cluster=studio/", Body=b"")
    assert list(store.list("warehouse/")) == ["warehouse/a/data"]


def test_a_bucket_that_does_not_exist_is_a_settings_error(s3_settings: Settings) -> None:
    unknown_bucket = s3_settings.model_copy(update={"store": "s3://nobodys-bucket/lake"})
    with pytest.raises(SettingsError, match=r"FUELLINE_STORE.*nobodys-bucket.*FUELLINE_S3_ENDPOINT"):
        open_store(unknown_bucket)


def test_a_folder_that_cannot_be_created_is_a_settings_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="FUELLINE_STORE"):
        open_store(read_settings(store=str(tmp_path / "file" / "objects")))

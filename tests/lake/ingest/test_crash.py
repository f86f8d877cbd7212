"""Killed with SIGKILL at any point and run again: the same final state.

A child counts the points at which it changes something (files opened to write, linked, renamed, removed; verbs of the
object store, before and after; commits of the catalogue) and kills itself at one. The parent walks through them.
"""

import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lake.contracts import contract
from lake.contracts.agent_interactions import AGENT_INTERACTIONS as CONTRACT
from lake.ingest.pipeline import Ingester
from lake.lake import Lake, open_lake
from lake.store.folder import FolderStore
from settings import Settings, read_settings
from tests.lake.processes import PROCESSES, at_once
from tests.lake.rows import interaction, lines

QUARANTINE = contract("quarantine.agent_interactions")
EVENTS = {"open", "os.link", "os.rename", "os.remove", "os.mkdir", "sqlite3.connect"}
VERBS = ("write", "create", "replace", "upload", "delete")
POINTS = 24
"""How many of the points one run walks through; each takes a child of its own."""


class Points:
    """Counts points and kills the process at one of them."""

    def __init__(self, folder: Path, fatal: int) -> None:
        self.folder, self.fatal, self.passed = str(folder), fatal, 0

    def point(self) -> None:
        self.passed += 1
        if self.passed == self.fatal:
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(self, event: str, arguments: tuple[Any, ...]) -> None:
        """For ``sys.addaudithook``."""
        if event not in EVENTS or self.folder not in str(arguments[0]):
            return
        reads_only = event == "open" and isinstance(arguments[1], str) and not set(arguments[1]) & set("wax+")
        if not reads_only:
            self.point()

    def around(self, verb: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            self.point()
            answer = verb(*arguments, **named)
            self.point()
            return answer

        return call


def run_until(fatal: int, settings: Settings, folder: Path, report: Any) -> None:
    """In a child process: ingest, and be killed at a point; report the number of points if there are fewer."""
    from pyiceberg.catalog.sql import SqlCatalog

    points = Points(settings.home, fatal)
    for verb in VERBS:
        setattr(FolderStore, verb, points.around(getattr(FolderStore, verb)))
    SqlCatalog.commit_table = points.around(SqlCatalog.commit_table)  # type: ignore[method-assign]
    SqlCatalog.create_table = points.around(SqlCatalog.create_table)  # type: ignore[method-assign]
    sys.addaudithook(points.watch)
    try:
        Ingester(open_lake(settings), CONTRACT, "agents").ingest_folder(folder)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    report.send(points.passed)


def crash(fatal: int, settings: Settings, folder: Path) -> int | None:
    """The number of points if the child finished, None if it was killed."""
    receiver, sender = PROCESSES.Pipe(duplex=False)
    child = PROCESSES.Process(target=run_until, args=(fatal, settings, folder, sender))
    child.start()
    sender.close()
    child.join()
    assert child.exitcode in (0, -signal.SIGKILL)
    return receiver.recv() if child.exitcode == 0 else None


def final_state(lake: Lake) -> Any:
    """The state that must not depend on the point of the kill; times and ids may."""
    tables = []
    for declared in (CONTRACT, QUARANTINE):
        version = lake.tables.current(declared)
        assert version
        columns = [name for name in declared.columns if name.name not in ("landed_at", "source_object")]
        rows = lake.tables.read(version, columns=[column.name for column in columns]).to_pylist()
        tables.append((sorted(rows, key=str), len(lake.tables.snapshots(declared))))
    chain = "sources/agents"
    assert lake.ledger.verify(chain) == 4
    entries = [(e.kind, e.key, {k: v for k, v in e.payload.items() if k in COUNTS}) for e in lake.ledger.entries(chain)]
    raw = sorted(lake.store.read(key) for key in lake.store.list("raw/"))
    return tables, entries, raw, list(lake.store.list("staged/"))


def ingest(settings: Settings, folder: Path) -> None:
    """For another process."""
    Ingester(open_lake(settings), CONTRACT, "agents").ingest_folder(folder)


def landed_only(settings: Settings, folder: Path, step: str) -> Lake:
    """The lake after a run that was killed at a step of the ingestion."""

    def dies(*_: object) -> None:
        raise RuntimeError("power cut")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(f"lake.ingest.pipeline.Ingester.{step}", dies)
        with pytest.raises(RuntimeError, match="power cut"):
            Ingester(open_lake(settings), CONTRACT, "agents").ingest_folder(folder)
    return open_lake(settings)


@pytest.mark.parametrize("step", ["_commit", "_quarantine"])
def test_an_object_that_landed_before_a_crash_is_ingested_even_if_its_file_is_gone(
    settings: Settings, tmp_path: Path, step: str
) -> None:
    log = tmp_path / "agent.log"
    log.write_bytes(lines([interaction(0), interaction(1), interaction(2, latency_ms=5)]))
    lake = landed_only(settings, log, step)
    log.write_bytes(lines([interaction(3)]))
    finished, fresh = Ingester(lake, CONTRACT, "agents").ingest_folder(log)
    assert (finished.committed, finished.quarantined, fresh.committed) == (2, 1, 1)
    assert [lake.tables.current(contract).rows for contract in (CONTRACT, QUARANTINE)] == [3, 1]  # type: ignore[union-attr]
    assert list(lake.store.list("staged/")) == []
    assert len(Ingester(lake, CONTRACT, "agents").ingest_folder(log)) == 1


def test_each_row_of_a_log_that_grew_after_a_crash_is_committed_once(settings: Settings, tmp_path: Path) -> None:
    log = tmp_path / "agent.log"
    log.write_bytes(lines([interaction(0), interaction(1)]))
    lake = landed_only(settings, log, "_commit")
    log.write_bytes(lines(interaction(n) for n in range(3)))
    finished, grown = Ingester(lake, CONTRACT, "agents").ingest_folder(log)
    assert (finished.committed, grown.committed, grown.duplicates) == (2, 1, 2)


def test_a_landed_object_that_retention_has_deleted_is_skipped_and_logged(
    settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = tmp_path / "agent.log"
    log.write_bytes(lines([interaction(0)]))
    lake = landed_only(settings, log, "_commit")
    [name] = lake.store.list("raw/")
    lake.store.delete(name)
    log.write_bytes(lines([interaction(1)]))
    with caplog.at_level(logging.INFO, "fuelline.ingest"):
        [done] = Ingester(lake, CONTRACT, "agents").ingest_folder(log)
    assert done.committed == 1
    assert f"{name} is skipped" in caplog.text


def test_a_file_of_two_sources_is_ingested_for_both(lake: Lake, tmp_path: Path) -> None:
    log = tmp_path / "agent.log"
    log.write_bytes(lines([interaction(0)]))
    for source in ("agents", "again", "agents", "again"):
        results = Ingester(lake, CONTRACT, source).ingest_folder(log)
    assert [result.new for result in results] == [False]


def test_concurrent_runs_that_finish_the_same_object_commit_each_row_once(settings: Settings, tmp_path: Path) -> None:
    log = tmp_path / "agent.log"
    log.write_bytes(lines([interaction(n) for n in range(5)] + [interaction(5, latency_ms=5)]))
    lake = landed_only(settings, log, "_quarantine")
    log.write_bytes(lines([interaction(6)]))
    at_once(ingest, [(settings, log)] * 2)
    assert [lake.tables.current(contract).rows for contract in (CONTRACT, QUARANTINE)] == [6, 1]  # type: ignore[union-attr]


COUNTS = ("landed", "committed", "quarantined", "duplicates", "reasons", "sha256", "watermark")


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    folder = tmp_path / "logs"
    folder.mkdir()
    first = [interaction(0), interaction(1), interaction(2, latency_ms=5), interaction(1)]
    (folder / "1.jsonl").write_bytes(lines(first))
    (folder / "2.jsonl").write_bytes(lines([interaction(1, response="x"), interaction(3), interaction(0)]) + b"{\n")
    return folder


@pytest.mark.timeout(600)
def test_a_kill_at_any_point_and_a_second_run_give_the_same_state(tmp_path: Path, logs: Path) -> None:
    def settings(name: str) -> Settings:
        return read_settings(home=tmp_path / name, lake="test", cache=tmp_path / "cache")

    points = crash(0, settings("whole"), logs)
    assert points
    assert points > 100
    expected = final_state(open_lake(settings("whole")))
    assert [count for _, count in expected[0]] == [2, 2]
    stride = max(1, points // POINTS)
    for fatal in range(1, points + 1, stride):
        assert crash(fatal, settings(f"{fatal}"), logs) is None
        lake = open_lake(settings(f"{fatal}"))
        Ingester(lake, CONTRACT, "agents").ingest_folder(logs)
        assert final_state(lake) == expected, f"killed at point {fatal} of {points}"

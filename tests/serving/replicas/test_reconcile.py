"""The reconciler where replicas or settings are missing; with a real vLLM it is in ``tests/vllm/test_reconcile.py``."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

import serving.replicas.reconcile
from cli.main import main
from lake.lake import Lake
from serving.replicas.reconcile import Loop, Report, reconcile
from serving.replicas.vllm import Replica
from tests.conftest import free_port

ROOT = Path(__file__).parents[3]


def nobody() -> Replica:
    return Replica(f"http://127.0.0.1:{free_port()}")


def test_a_dead_replica_is_a_fault_of_its_own_and_stops_no_other(lake: Lake, tmp_path: Path) -> None:
    first, second = nobody(), nobody()
    report = reconcile(lake, [first, second], tmp_path)
    assert set(report.faults) == {first.address, second.address}
    for address, (fault,) in report.faults.items():
        assert f"vLLM at {address} does not answer" in fault


def test_without_settings_it_says_which_are_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FUELLINE_HOME", str(tmp_path))
    monkeypatch.delenv("FUELLINE_VLLM", raising=False)
    refused = CliRunner().invoke(main, ["serve", "reconcile", "--once"])
    assert refused.exit_code == 1
    assert refused.stderr.startswith("fuelline: FUELLINE_VLLM and FUELLINE_ADAPTERS must be set")


def test_the_loop_outlives_a_dead_replica_and_ends_in_good_order_when_told(tmp_path: Path) -> None:
    places = {"HOME": tmp_path, "LAKE": "test", "VLLM": nobody().address, "ADAPTERS": tmp_path / "adapters"}
    variables = {**os.environ, "PYTHONPATH": str(ROOT), **{f"FUELLINE_{name}": str(at) for name, at in places.items()}}
    log = tmp_path / "log"
    with log.open("wb") as file:
        command = [sys.executable, "-m", "serving.reconcile", "--every", "0.1"]
        process = subprocess.Popen(command, cwd=ROOT, env=variables, stdout=file, stderr=file)
    try:
        while log.read_text().count("does not answer") < 3:
            assert process.poll() is None, log.read_text()
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, log.read_text()
    finally:
        process.kill()
        process.wait()
    assert "Traceback" not in log.read_text()


def test_a_replica_that_fails_is_looked_at_less_and_less_often(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Clock(threading.Event):
        now = 0.0

        def wait(self, timeout: float | None = None) -> bool:
            self.now += timeout or 0.0
            if self.now > 60:
                self.set()
            return self.is_set()

    clock, looks = Clock(), list[float]()

    def fails(_: Lake, due: Sequence[Replica], *__: object, **___: object) -> Report:
        looks.extend(clock.now for _ in due)
        return Report(faults={one.address: ["away"] for one in due})

    monkeypatch.setattr(serving.replicas.reconcile, "reconcile", fails)
    monkeypatch.setattr(serving.replicas.reconcile, "time", SimpleNamespace(monotonic=lambda: clock.now))
    Loop(lake=lake, replicas=[nobody()], folder=tmp_path, every_s=2.0, stopped=clock).run()
    assert looks == [0, 2, 6, 14, 30, 46]  # rounds are two seconds apart, so 15 are 16


def test_nobody_is_sent_to_a_replica_that_does_not_answer(lake: Lake, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    ready.touch()  # of a process before this one
    loop = Loop(lake=lake, replicas=[nobody()], folder=tmp_path, every_s=0.01, ready_file=ready)
    thread = threading.Thread(target=loop.run)
    thread.start()
    try:
        while ready.exists():
            time.sleep(0.01)
    finally:
        loop.stopped.set()
        thread.join()
    assert not ready.exists()

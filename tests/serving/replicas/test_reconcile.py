"""The reconciler without replicas or settings; ``tests/vllm/test_reconcile.py`` runs it with a real vLLM."""

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
from serving.replicas.reconcile import ReconcileLoop, ReconcileReport, reconcile
from serving.replicas.vllm import Replica
from tests.conftest import free_port

ROOT = Path(__file__).parents[3]


def dead_replica() -> Replica:
    return Replica(f"http://127.0.0.1:{free_port()}")


def test_a_dead_replica_is_reported_and_does_not_stop_the_others(lake: Lake, tmp_path: Path) -> None:
    first, second = dead_replica(), dead_replica()
    report = reconcile(lake, [first, second], tmp_path)
    assert set(report.faults) == {first.address, second.address}
    for address, (fault,) in report.faults.items():
        assert f"vLLM at {address} does not answer" in fault


def test_missing_settings_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FUELLINE_HOME", str(tmp_path))
    monkeypatch.delenv("FUELLINE_VLLM", raising=False)
    refused = CliRunner().invoke(main, ["serve", "reconcile", "--once"])
    assert refused.exit_code == 1
    assert refused.stderr.startswith("Error: FUELLINE_VLLM and FUELLINE_ADAPTERS must be set")


def test_the_loop_survives_a_dead_replica_and_ends_cleanly_on_sigterm(tmp_path: Path) -> None:
    values = {"HOME": tmp_path, "LAKE": "test", "VLLM": dead_replica().address, "ADAPTERS": tmp_path / "adapters"}
    variables = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        **{f"FUELLINE_{name}": str(value) for name, value in values.items()},
    }
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


def test_a_replica_that_fails_is_tried_less_and_less_often(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Clock(threading.Event):
        now = 0.0

        def wait(self, timeout: float | None = None) -> bool:
            self.now += timeout or 0.0
            if self.now > 60:
                self.set()
            return self.is_set()

    clock, attempts = Clock(), list[float]()

    def fails(_: Lake, due: Sequence[Replica], *__: object, **___: object) -> ReconcileReport:
        attempts.extend(clock.now for _ in due)
        return ReconcileReport(faults={replica.address: ["unavailable"] for replica in due})

    monkeypatch.setattr(serving.replicas.reconcile, "reconcile", fails)
    monkeypatch.setattr(serving.replicas.reconcile, "time", SimpleNamespace(monotonic=lambda: clock.now))
    ReconcileLoop(lake=lake, replicas=[dead_replica()], folder=tmp_path, every_s=2.0, stopped=clock).run()
    assert attempts == [0, 2, 6, 14, 30, 46]  # rounds are two seconds apart, so a pause of 15 s becomes 16 s


def test_a_replica_that_does_not_answer_is_not_ready(lake: Lake, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    ready.touch()  # left by a previous process
    loop = ReconcileLoop(lake=lake, replicas=[dead_replica()], folder=tmp_path, every_s=0.01, ready_file=ready)
    thread = threading.Thread(target=loop.run)
    thread.start()
    try:
        while ready.exists():
            time.sleep(0.01)
    finally:
        loop.stopped.set()
        thread.join()
    assert not ready.exists()

"""The reconciler with a real vLLM: needed adapters are loaded, pass the gate, and are back after a restart."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from errors import PeerError
from models.llm.lora import WEIGHTS
from serving.replicas.reconcile import reconcile
from serving.replicas.vllm import Replica
from tests.vllm.conftest import ROOT, VllmServer
from tests.vllm.world import World

TIMEOUT_S = 240


def wait_for(what: str, condition: Callable[[], bool]) -> float:
    """Wait for a condition; returns the seconds it took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < TIMEOUT_S, f"{what} did not happen in {TIMEOUT_S} s"
        time.sleep(0.1)
    return time.monotonic() - began


def answers(replica: Replica, name: str) -> bool:
    try:
        return bool(replica.next_tokens(name, ["Hello"]))
    except PeerError:
        return False


@contextmanager
def sidecar(world: World, replica: Replica, adapters: Path, log: Path) -> Iterator[None]:
    """The command as a sidecar of a replica."""
    settings = world.lake.settings
    environment = {
        "FUELLINE_HOME": settings.home,
        "FUELLINE_LAKE": settings.lake,
        "FUELLINE_VLLM": replica.address,
        "FUELLINE_ADAPTERS": adapters,
        "PYTHONPATH": ROOT,
    }
    command = [sys.executable, "-m", "serving.reconcile", "--every", "1"]
    variables = {**os.environ, **{name: str(value) for name, value in environment.items()}}
    with log.open("wb") as file:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdout=file,
            stderr=file,
            env=variables,
        )
    try:
        yield
    finally:
        process.terminate()
        assert process.wait(30) == 0, log.read_text()


def test_needed_adapters_are_loaded_and_checked_once(world: World, replica: Replica, adapters: Path) -> None:
    world.promote(world.good)
    world.roll_out(world.noisy)
    planned = reconcile(world.lake, [replica], adapters, dry_run=True)
    assert replica.adapters() == {}
    verified: set[tuple[str, str]] = set()
    first = reconcile(world.lake, [replica], adapters, verified=verified)
    assert sorted(first.loaded) == sorted(planned.loaded)
    assert [result.passed for result in first.gate_results] == [True, True]
    assert first.ready == {replica.address}
    assert set(replica.adapters()) == {world.good.adapter_name, world.noisy.adapter_name}
    second = reconcile(world.lake, [replica], adapters, verified=verified)
    assert (second.loaded, second.gate_results, second.unloaded, second.faults) == ([], [], [], {})


def test_an_adapter_that_is_no_longer_needed_is_unloaded_after_the_grace_period(
    world: World, replica: Replica, adapters: Path
) -> None:
    world.promote(world.good)
    world.roll_out(world.noisy)
    reconcile(world.lake, [replica], adapters)
    closed = {"version": 2, "baseline": "agents@v1", "reason": "For a test."}
    world.lake.ledger.append("models/agents", "rejected", "closed", closed)
    assert reconcile(world.lake, [replica], adapters).unloaded == []
    report = reconcile(world.lake, [replica], adapters, grace=timedelta(0))
    assert report.unloaded == [f"{world.noisy.adapter_name} on {replica.address}"]
    assert set(replica.adapters()) == {world.good.adapter_name}


def test_a_tampered_byte_in_the_registry_is_never_loaded(world: World, replica: Replica, tmp_path: Path) -> None:
    world.promote(world.good)
    key = f"{world.good.path}/{WEIGHTS}"
    data = bytearray(world.lake.store.read(key))
    data[-1] ^= 1
    world.lake.store.write(key, bytes(data))
    report = reconcile(world.lake, [replica], tmp_path / "adapters")
    (fault,) = report.faults[replica.address]
    assert "differs from what was registered" in fault
    assert report.ready == {replica.address}, "it does not block the users of other models"
    assert replica.adapters() == {}
    assert list((tmp_path / "adapters").iterdir()) == []


def test_a_decision_reaches_the_replica_and_a_restarted_one_gets_its_adapters_back(
    world: World,
    vllm_server: VllmServer,
    replica: Replica,
    adapters: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    names = [world.good.adapter_name, world.noisy.adapter_name]
    log = tmp_path / "sidecar.log"

    def passed(number: int) -> Callable[[], bool]:
        return lambda: log.read_text().count(": passed:") == number

    with sidecar(world, replica, adapters, log):
        world.promote(world.good)
        wait_for("the first check", passed(1))
        world.roll_out(world.noisy)
        answered = wait_for("an answer of the second adapter", lambda: answers(replica, names[1]))
        checked = answered + wait_for("the second check", passed(2))
        vllm_server.kill()
        wait_for("the reconciler's warning", lambda: "does not answer" in log.read_text())
        vllm_server.start()
        back = wait_for("both adapters", lambda: set(replica.adapters()) == set(names))
        wait_for("two more checks", passed(4))
    with capsys.disabled():
        print(f"\nFrom decision to first answer {answered:.1f} s, to its check {checked:.1f} s.")
        print(f"From the start of an empty server to both adapters {back:.1f} s.")

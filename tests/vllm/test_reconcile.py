"""The reconciler before a real vLLM: what the ledger wants is served, proven, and back after a restart."""

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

PATIENCE_S = 240


def wait_for(what: str, condition: Callable[[], bool]) -> float:
    """Seconds until it holds."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < PATIENCE_S, f"{what} did not happen in {PATIENCE_S} s"
        time.sleep(0.1)
    return time.monotonic() - began


def answers(replica: Replica, name: str) -> bool:
    try:
        return bool(replica.next_tokens(name, ["Hello"]))
    except PeerError:
        return False


@contextmanager
def sidecar(world: World, replica: Replica, adapters: Path, log: Path) -> Iterator[None]:
    """The command as it runs beside a replica."""
    places = world.lake.settings
    environment = {
        "FUELLINE_HOME": places.home,
        "FUELLINE_LAKE": places.lake,
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


def test_what_the_ledger_wants_is_loaded_and_proven_once(world: World, replica: Replica, adapters: Path) -> None:
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


def test_what_is_not_wanted_any_more_is_unloaded_after_the_grace(
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
    assert report.ready == {replica.address}, "other models' users do not pay for it"
    assert replica.adapters() == {}
    assert list((tmp_path / "adapters").iterdir()) == []


def test_a_decision_is_answered_and_a_restarted_replica_gets_everything_back(
    world: World,
    vllm_server: VllmServer,
    replica: Replica,
    adapters: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    names = [world.good.adapter_name, world.noisy.adapter_name]
    log = tmp_path / "sidecar.log"

    def proofs(number: int) -> Callable[[], bool]:
        return lambda: log.read_text().count(": passed:") == number

    with sidecar(world, replica, adapters, log):
        world.promote(world.good)
        wait_for("the first proof", proofs(1))
        world.roll_out(world.noisy)
        answered = wait_for("an answer of the second adapter", lambda: answers(replica, names[1]))
        proven = answered + wait_for("the second proof", proofs(2))
        vllm_server.kill()
        wait_for("the reconciler's complaint", lambda: "does not answer" in log.read_text())
        vllm_server.start()
        back = wait_for("both adapters", lambda: set(replica.adapters()) == set(names))
        wait_for("two proofs more", proofs(4))
    with capsys.disabled():
        print(f"\nFrom decision to first answer {answered:.1f} s, to its proof {proven:.1f} s.")
        print(f"From the start of an empty server to both adapters {back:.1f} s.")

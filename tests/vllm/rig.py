"""All serving processes on one machine: a real vLLM, its reconciler, and gateways."""

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from lake.lake import Lake, open_lake
from serving.replicas.vllm import Replica
from tests.conftest import free_port

ROOT = Path(__file__).parents[2]
START_S = 120


@dataclass(kw_only=True)
class Process:
    """One of Fuelline's commands, restartable."""

    module: str
    arguments: list[str]
    environment: dict[str, str]
    log: Path
    process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", self.module, *self.arguments],
                env={**os.environ, **self.environment, "PYTHONPATH": str(ROOT)},
                cwd=ROOT,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def kill(self) -> None:
        """Kill it with SIGKILL, which it cannot handle."""
        if self.process:
            self.process.kill()
            self.process.wait()

    def stop(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(45)
            self.kill()


@dataclass(kw_only=True)
class Gateway(Process):
    """A gateway with its own spool."""

    port: int = field(default_factory=free_port)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def wait(self) -> None:
        """Wait until it is ready."""
        deadline = time.monotonic() + START_S
        while not self._ready():
            assert time.monotonic() < deadline, self.log.read_text()[-2000:]
            time.sleep(0.2)

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.address}/ready", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False


@dataclass(frozen=True, kw_only=True)
class Rig:
    """A lake with live serving."""

    lake: Lake
    gateways: list[Gateway]
    reconciler: Process

    @property
    def addresses(self) -> list[str]:
        return [gateway.address for gateway in self.gateways]


@contextlib.contextmanager
def serving(lake: Lake, vllm: Replica, folder: Path, gateways: int = 2) -> Iterator[Rig]:
    """Serve a lake's models with this vLLM until the end of the context."""
    settings = lake.settings.model_copy(update={"vllm": vllm.address, "adapters": str(folder / "adapters")})
    environment = {
        "FUELLINE_HOME": str(settings.home),
        "FUELLINE_LAKE": settings.lake,
        "FUELLINE_CACHE": str(settings.cache),
        "FUELLINE_VLLM": settings.vllm,
        "FUELLINE_ADAPTERS": settings.adapters,
    }
    rig = Rig(
        lake=open_lake(settings),
        gateways=[_gateway(number, environment, folder) for number in range(gateways)],
        reconciler=Process(
            module="serving.reconcile",
            arguments=["--every", "1"],
            environment=environment,
            log=folder / "reconcile.log",
        ),
    )
    try:
        for process in (rig.reconciler, *rig.gateways):
            process.start()
        for gateway in rig.gateways:
            gateway.wait()
        yield rig
    finally:
        for process in (*rig.gateways, rig.reconciler):
            process.stop()


def _gateway(number: int, environment: dict[str, str], folder: Path) -> Gateway:
    port = free_port()
    arguments = ["--port", str(port), "--spool", str(folder / f"gateway-{number}" / "spool.db")]
    return Gateway(
        module="serving.gateway",
        arguments=arguments,
        environment=environment,
        log=folder / f"gateway-{number}.log",
        port=port,
    )

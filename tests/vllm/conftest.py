"""A real vLLM with SmolLM2 for this test run, without adapters at first, and the model versions for it.

It has its own environment (``make vllm``), because it pins other versions of torch and transformers than training does.
It starts in about a minute and is shared by all tests of the run; a test that kills it starts it again.
"""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import urllib3
from urllib3.exceptions import HTTPError

from models.llm.base_model import resolve
from models.llm.distributed import dtype_of
from serving.replicas.vllm import Replica
from settings import read_settings
from tests.conftest import free_port
from tests.vllm.world import CACHE, HARMS, PROFILE, RANK, World, build_world

ROOT = Path(__file__).parents[2]
START_S = 420
"""Time limit of a start on a busy machine; about 45 s on an idle one."""
SLOTS = 24
"""More than all tests load into one server. On a CPU the adapter in the last slot also answers requests of the base
in the same batch, and unloading frees no slot (vLLM pull requests 48421 and 49656)."""
# By default vLLM binds its threads to cores and competes there with other processes. One thread is enough for a model
# of this size.
ENVIRONMENT = {
    "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests in this folder need vLLM, and time."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.vllm)
            item.add_marker(pytest.mark.timeout(2400))


@dataclass(kw_only=True)
class VllmServer:
    """One vLLM process group on loopback; the base model is called ``base``."""

    python: Path
    model: Path
    log: Path
    port: int = field(default_factory=free_port)
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def replica(self) -> Replica:
        """A client of it."""
        return Replica(f"http://127.0.0.1:{self.port}")

    def start(self) -> None:
        """Start it and wait until it is healthy; no adapter is loaded then."""
        self.launch()
        self.wait()

    def launch(self) -> None:
        """Start it and do not wait."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [str(self.python), "-m", "vllm.entrypoints.openai.api_server", *self._arguments()],
                env={**os.environ, **ENVIRONMENT},
                cwd=self.log.parent,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait(self) -> None:
        """Wait until it is healthy."""
        assert self.process is not None
        deadline = time.monotonic() + START_S
        while not self._healthy():
            assert self.process.poll() is None, f"vLLM stopped at once:\n{self.tail()}"
            assert time.monotonic() < deadline, f"vLLM did not start in {START_S} s:\n{self.tail()}"
            time.sleep(0.5)

    def _healthy(self) -> bool:
        """Whether it answers and its engine is alive."""
        try:
            return urllib3.request("GET", f"{self.replica.address}/health", timeout=5.0, retries=False).status == 200
        except HTTPError:
            return False

    def kill(self) -> None:
        """Kill it with its engine, as in the failure of a node."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):  # the whole group has ended
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(30)
            self.process = None

    def stop(self) -> None:
        """End it cleanly."""
        if self.process is None:
            return
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(30)
        self.kill()

    def tail(self) -> str:
        """The last 30 lines of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-30:])

    def _arguments(self) -> list[str]:
        options = {
            "model": self.model,
            "served-model-name": "base",
            "host": "127.0.0.1",
            "port": self.port,
            "dtype": dtype_of(PROFILE, "cpu"),
            "max-model-len": 1024,
            "max-num-seqs": 16,
            "max-loras": SLOTS,
            "max-cpu-loras": SLOTS,
            "max-lora-rank": RANK,
        }
        pairs = [text for name, value in options.items() for text in (f"--{name}", str(value))]
        return [*pairs, "--enable-lora", "--enforce-eager", "--enable-auto-tool-choice", "--tool-call-parser=hermes"]


@pytest.fixture(scope="session")
def vllm_python(request: pytest.FixtureRequest) -> Path:
    """The interpreter of vLLM's environment: ``VLLM_PYTHON``, or the one that ``make vllm`` installs."""
    python = Path(os.environ.get("VLLM_PYTHON") or ROOT / ".venv-vllm" / "bin" / "python")
    if not python.exists():
        message = f"vLLM is not installed ({python} is missing): run make vllm"
        if request.config.getoption("--require-services"):
            pytest.fail(message)
        pytest.skip(message)
    return python


@pytest.fixture(scope="session")
def starting_server(vllm_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[VllmServer]:
    """A server that starts while the versions are trained: each of the two takes one core."""
    base = resolve(read_settings(cache=CACHE))
    server = VllmServer(python=vllm_python, model=Path(base.path), log=tmp_path_factory.mktemp("vllm") / "vllm.log")
    try:
        server.launch()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def trained(starting_server: VllmServer, tmp_path_factory: pytest.TempPathFactory) -> World:
    """The lake with its versions."""
    del starting_server
    return build_world(tmp_path_factory.mktemp("trained"), tuple(HARMS))


@pytest.fixture
def world(trained: World, tmp_path: Path) -> World:
    """A copy for one test, which may write to its ledger."""
    return trained.copy(tmp_path / "home")


@pytest.fixture(scope="session")
def vllm_server(starting_server: VllmServer, trained: World) -> VllmServer:
    """A running server. A test that kills it starts it again."""
    del trained
    starting_server.wait()
    return starting_server


@pytest.fixture(scope="session")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of adapters for the whole run: a server refuses a name from a second folder."""
    return tmp_path_factory.mktemp("adapters")


@pytest.fixture
def replica(vllm_server: VllmServer) -> Replica:
    """A client of the server, with no adapter loaded."""
    for name in vllm_server.replica.adapters():
        vllm_server.replica.unload(name)
    return vllm_server.replica

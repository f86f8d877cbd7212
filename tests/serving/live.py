"""Real servers on loopback for one test: the gateway under uvicorn, vLLM's stand-in, and a client that speaks HTTP."""

import asyncio
import contextlib
import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import uvicorn
from aiohttp import web
from starlette.applications import Starlette

from benchmarks.vllm_stub import Stub
from lake.lake import Lake
from serving.gateway.header_limit import BoundedHeads
from tests.conftest import free_port

PATIENCE_S = 120.0


@dataclass(frozen=True)
class Told:
    """What a server answered."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def events(self) -> list[str]:
        """The data of a stream's events."""
        return [event.removeprefix("data: ") for event in self.body.decode().split("\n\n") if event]

    @property
    def id(self) -> str:
        return self.headers["x-interaction-id"]


@dataclass(frozen=True)
class Client:
    """Asks one server."""

    port: int

    def get(self, path: str, **headers: str) -> Told:
        return self._ask("GET", path, b"", headers)

    def post(self, path: str, body: object, **headers: str) -> Told:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self._ask("POST", path, data, headers)

    def chat(
        self, words: str = "hello", *, model: str = "jamie", headers: dict[str, str] | None = None, **more: Any
    ) -> Told:
        """One request for a chat completion."""
        body = {"model": model, "messages": [{"role": "user", "content": words}], **more}
        return self.post("/v1/chat/completions", body, **headers or {})

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's series that have these labels."""
        lines = self.get("/metrics").body.decode().splitlines()
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        mine = [line for line in lines if line.startswith((f"{name}{{", f"{name} ")) and all(w in line for w in wanted)]
        return sum(float(line.rsplit(" ", 1)[1]) for line in mine)

    def _ask(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> Told:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        with contextlib.closing(connection):
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            response = connection.getresponse()
            return Told(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())


def wait_until(true: Callable[[], bool], what: str) -> None:
    """Return once it is true."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            if true():
                return
        time.sleep(0.02)
    raise AssertionError(f"not so within {PATIENCE_S:.0f} s: {what}")


@contextlib.contextmanager
def gateway(application: Starlette) -> Iterator[Client]:
    """The gateway, ready."""
    port = free_port()
    config = uvicorn.Config(
        application, port=port, log_config=None, access_log=False, lifespan="on", loop="uvloop", http=BoundedHeads
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    client = Client(port)
    try:
        wait_until(lambda: client.get("/ready").status == 200, "the gateway is ready")
        yield client
    finally:
        server.should_exit = True
        thread.join(PATIENCE_S)


@contextlib.contextmanager
def vllm(stub: Stub) -> Iterator[str]:
    """A replica; its address."""
    loop, port, up = asyncio.new_event_loop(), free_port(), threading.Event()
    runner = web.AppRunner(stub.application(), access_log=None, shutdown_timeout=0.1)

    async def start() -> None:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        up.set()

    def live() -> None:
        loop.run_until_complete(start())
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())
        loop.close()

    thread = threading.Thread(target=live)
    thread.start()
    up.wait(PATIENCE_S)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(PATIENCE_S)


def know_the_agents(lake: Lake) -> None:
    """A ledger that knows the model ``agents``, with no version of it yet."""
    asked = {"request": 1, "trigger": "hand", "decision": "", "reason": "to begin with", "by": ""}
    lake.ledger.append("models/agents", "retraining_requested", "request:1", asked)

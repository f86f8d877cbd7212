"""Real servers on loopback for one test: the gateway under uvicorn, a stub of vLLM, and an HTTP client."""

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

from lake.lake import Lake
from serving.gateway.header_limit import HeaderLimitProtocol
from tests.conftest import free_port
from tests.doubles.vllm_stub import VllmStub

TIMEOUT_S = 120.0


@dataclass(frozen=True)
class HttpResponse:
    """The answer of a server."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def events(self) -> list[str]:
        """The data of each event of a stream."""
        return [event.removeprefix("data: ") for event in self.body.decode().split("\n\n") if event]

    @property
    def id(self) -> str:
        return self.headers["x-interaction-id"]


@dataclass(frozen=True)
class HttpClient:
    """A client of one server."""

    port: int

    def get(self, path: str, **headers: str) -> HttpResponse:
        return self._request("GET", path, b"", headers)

    def post(self, path: str, body: object, **headers: str) -> HttpResponse:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self._request("POST", path, data, headers)

    def chat(
        self, text: str = "hello", *, model: str = "jamie", headers: dict[str, str] | None = None, **more: Any
    ) -> HttpResponse:
        """One request for a chat completion."""
        body = {"model": model, "messages": [{"role": "user", "content": text}], **more}
        return self.post("/v1/chat/completions", body, **headers or {})

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric over the series that have these labels."""
        lines = self.get("/metrics").body.decode().splitlines()
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        series = [
            line for line in lines if line.startswith((f"{name}{{", f"{name} ")) and all(w in line for w in wanted)
        ]
        return sum(float(line.rsplit(" ", 1)[1]) for line in series)

    def _request(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> HttpResponse:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_S)
        with contextlib.closing(connection):
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            response = connection.getresponse()
            return HttpResponse(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Return once the condition holds."""
    end = time.monotonic() + TIMEOUT_S
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            if condition():
                return
        time.sleep(0.02)
    raise AssertionError(f"not within {TIMEOUT_S:.0f} s: {what}")


@contextlib.contextmanager
def gateway(application: Starlette) -> Iterator[HttpClient]:
    """Run the gateway; yields a client once it is ready."""
    port = free_port()
    config = uvicorn.Config(
        application,
        port=port,
        log_config=None,
        access_log=False,
        lifespan="on",
        loop="uvloop",
        http=HeaderLimitProtocol,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    client = HttpClient(port)
    try:
        wait_until(lambda: client.get("/ready").status == 200, "the gateway is ready")
        yield client
    finally:
        server.should_exit = True
        thread.join(TIMEOUT_S)


@contextlib.contextmanager
def vllm(stub: VllmStub, port: int = 0) -> Iterator[str]:
    """Run the stub, on a free port unless one is given; yields its address."""
    loop, port, up = asyncio.new_event_loop(), port or free_port(), threading.Event()
    runner = web.AppRunner(stub.application(), access_log=None, shutdown_timeout=0.1)

    async def start() -> None:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        up.set()

    def serve() -> None:
        loop.run_until_complete(start())
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())
        loop.close()

    thread = threading.Thread(target=serve)
    thread.start()
    up.wait(TIMEOUT_S)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(TIMEOUT_S)


def add_agents_model(lake: Lake) -> None:
    """Add the model ``agents`` to the ledger, without a version."""
    payload = {"request": 1, "trigger": "hand", "decision": "", "reason": "to begin with", "by": ""}
    lake.ledger.append("models/agents", "retraining_requested", "request:1", payload)

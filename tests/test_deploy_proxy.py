"""The proxy of a vLLM pod: nginx with the configuration of ``deploy/``, in front of a server that answers all paths."""

import http.client
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from tests.conftest import free_port
from tests.deployed import DEPLOY

INFERENCE, ROLLOUT, METRICS = 8080, 8001, 8002
ALLOWED = {
    INFERENCE: {("POST", "/v1/chat/completions"), ("GET", "/v1/models"), ("GET", "/health")},
    ROLLOUT: {
        ("POST", "/v1/chat/completions"),
        ("POST", "/v1/completions"),
        ("GET", "/v1/models"),
        ("GET", "/health"),
    },
    METRICS: {("GET", "/metrics")},
}
PATHS = (
    *("/v1/chat/completions", "/v1/completions", "/v1/models", "/health", "/metrics"),
    *("/v1/load_lora_adapter", "/v1/unload_lora_adapter", "/v1/responses", "/v1/embeddings", "/tokenize", "/docs"),
    *("/openapi.json", "/invocations", "/server_info", "/reset_prefix_cache", "/sleep", "/collective_rpc", "/"),
)
DISGUISES = (
    *("//v1/load_lora_adapter", "/v1/models/../load_lora_adapter", "/v1/%6coad_lora_adapter", "/v1/models/"),
    *("/v1/load_lora_adapter?x=/v1/models", "/v1/load_lora_adapter/../models", "/v1/load_lora_adapter%2f..%2fmodels"),
    *("/v1/load_lora_adapter;/../models", "/health%00/../v1/load_lora_adapter", "/V1/LOAD_LORA_ADAPTER"),
)


class AnswerEverything(BaseHTTPRequestHandler):
    """Answers every path and records the requests."""

    received: ClassVar[list[str]] = []
    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        self.received.append(f"{self.command} {self.path}")
        if self.rfile.read(int(self.headers.get("Content-Length") or 0)) == b"break off":
            self.close_connection = True
            return
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    do_GET = do_POST = do_PUT = do_DELETE = answer  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


class Proxy:
    """A running proxy: its ports by those of the pod, and the requests it forwarded."""

    def __init__(self, ports: dict[int, int], forwarded: list[str]) -> None:
        self.ports, self.forwarded = ports, forwarded

    def status(self, port: int, method: str, path: str, body: bytes = b"{}") -> int:
        """The status of the response."""
        return self.answer(port, method, path, body)[0]

    def answer(self, port: int, method: str, path: str, body: bytes = b"{}") -> tuple[int, str | None]:
        """The status, and the header ``X-Not-Taken``."""
        connection = http.client.HTTPConnection("127.0.0.1", self.ports[port], timeout=30)
        try:
            connection.request(method, path, body if method in ("POST", "PUT") else None)
            response = connection.getresponse()
            return response.status, response.getheader("X-Not-Taken")
        finally:
            connection.close()


@pytest.fixture(scope="module")
def start_proxy(
    tmp_path_factory: pytest.TempPathFactory, need_binary: Callable[[str, str], str]
) -> Callable[[int], AbstractContextManager[Proxy]]:
    """Starts nginx in front of a server on this port."""
    nginx = need_binary("nginx", "nginx-light")

    @contextmanager
    def start(vllm: int) -> Iterator[Proxy]:
        folder = tmp_path_factory.mktemp("proxy")
        ports = {port: free_port() for port in ALLOWED}
        configuration = folder / "nginx.conf"
        configuration.write_text(_adapted((DEPLOY / "nginx.conf").read_text(), folder, ports, vllm))
        server = subprocess.Popen([nginx, "-c", str(configuration), "-g", "daemon off;"], stderr=subprocess.PIPE)
        try:
            _wait_for(ports[INFERENCE], server)
            yield Proxy(ports, AnswerEverything.received)
        finally:
            server.terminate()
            server.communicate(timeout=10)

    return start


@pytest.fixture(scope="module")
def proxy(start_proxy: Callable[[int], AbstractContextManager[Proxy]]) -> Iterator[Proxy]:
    vllm = ThreadingHTTPServer(("127.0.0.1", 0), AnswerEverything)
    threading.Thread(target=vllm.serve_forever, daemon=True).start()
    try:
        with start_proxy(vllm.server_port) as running:
            yield running
    finally:
        vllm.shutdown()
        vllm.server_close()


def _adapted(text: str, folder: Path, ports: dict[int, int], vllm: int) -> str:
    """The deployed configuration with other ports on loopback, and another folder for temporary files."""
    for port, free in ports.items():
        text = text.replace(f"listen {port};", f"listen 127.0.0.1:{free};")
    return text.replace("server 127.0.0.1:8000 ", f"server 127.0.0.1:{vllm} ").replace("/tmp/", f"{folder}/")


def _wait_for(port: int, server: "subprocess.Popen[bytes]") -> None:
    for _ in range(300):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
        try:
            connection.connect()
        except OSError:
            assert server.poll() is None, server.communicate()[1].decode()
            threading.Event().wait(0.1)
        else:
            return
        finally:
            connection.close()
    raise AssertionError("nginx did not start in 30 s")


@pytest.mark.parametrize("port", ALLOWED)
def test_each_port_forwards_only_its_paths(proxy: Proxy, port: int) -> None:
    for method in ("GET", "POST", "PUT", "DELETE"):
        for path in PATHS:
            proxy.forwarded.clear()
            status = proxy.status(port, method, path)
            if (method, path) in ALLOWED[port]:
                assert (status, proxy.forwarded) == (200, [f"{method} {path}"])
            else:
                assert status in (403, 404), (method, path)
                assert proxy.forwarded == [], (method, path)


@pytest.mark.parametrize("port", ALLOWED)
@pytest.mark.parametrize("path", DISGUISES)
def test_no_spelling_of_a_path_loads_an_adapter(proxy: Proxy, port: int, path: str) -> None:
    for method in ("GET", "POST"):
        proxy.forwarded.clear()
        proxy.status(port, method, path)
        assert {line.split("?")[0] for line in proxy.forwarded} <= {f"{verb} {known}" for verb, known in ALLOWED[port]}


def test_a_request_of_half_a_megabyte_is_forwarded_and_one_of_five_is_not(proxy: Proxy) -> None:
    assert proxy.status(INFERENCE, "POST", "/v1/chat/completions", b" " * 500_000) == 200
    assert proxy.status(INFERENCE, "POST", "/v1/chat/completions", b" " * 5_000_000) == 413


def test_a_header_marks_a_request_that_was_not_forwarded(
    proxy: Proxy, start_proxy: Callable[[int], AbstractContextManager[Proxy]]
) -> None:
    chat = (INFERENCE, "POST", "/v1/chat/completions")
    assert proxy.answer(*chat) == (200, None)
    assert proxy.answer(*chat, b"break off") == (502, None)
    with start_proxy(free_port()) as without_vllm:
        assert without_vllm.answer(*chat) == (502, "1")

"""The client of vLLM with missing or wrong servers; ``tests/vllm/test_vllm.py`` has a real vLLM."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from errors import PeerError
from serving.replicas.vllm import Replica
from tests.conftest import free_port

Serve = Callable[[int, bytes], Replica]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts a server that answers every request with this status and body."""
    servers: list[HTTPServer] = []

    def start(status: int, body: bytes) -> Replica:
        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = answer  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return Replica(f"http://127.0.0.1:{server.server_port}")

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_the_error_of_a_missing_server_names_it() -> None:
    replica = Replica(f"http://127.0.0.1:{free_port()}")
    with pytest.raises(PeerError, match=f"vLLM at {replica.address} does not answer /v1/models"):
        replica.adapters()


def test_an_answer_that_is_not_vllms_is_quoted(serve: Serve) -> None:
    replica = serve(502, b"<html>bad gateway</html>")
    with pytest.raises(PeerError, match=r"HTTP 502.*bad gateway"):
        replica.adapters()


def test_an_answer_of_another_model_is_an_error(serve: Serve) -> None:
    replica = serve(200, json.dumps({"model": "base", "choices": []}).encode())
    with pytest.raises(PeerError, match="answered as base to a request for agents@1"):
        replica.next_tokens("agents@1", [[1]])


def test_a_missing_answer_is_an_error(serve: Serve) -> None:
    replica = serve(200, json.dumps({"model": "agents@1", "choices": []}).encode())
    with pytest.raises(PeerError, match="0 answers to 1 prompts"):
        replica.next_tokens("agents@1", [[1]])

"""A real HTTP server on loopback with scripted replies: correct, late, wrong, truncated or missing."""

import gzip
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass
class Request:
    path: str
    parameters: dict[str, str]
    headers: dict[str, str]


@dataclass
class Reply:
    """A reply; ``cut`` limits the bytes that are sent, ``late_s`` delays it, each of ``lines`` is a chunk."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    late_s: float = 0.0
    lines: list[bytes] | None = None
    compressed: bool = False


def plain(value: Any, **headers: str) -> Reply:
    return Reply(json.dumps(value).encode(), headers={name.replace("_", "-"): text for name, text in headers.items()})


def _chunked(lines: list[bytes]) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(line), line) for line in lines) + b"0\r\n\r\n"


@dataclass
class Peer:
    """The requests it received and the replies it sends: those of ``script`` first, then what ``answer`` returns."""

    url: str = ""
    script: list[Reply] = field(default_factory=list)
    answer: Callable[[Request], Reply] = lambda _: Reply(status=404)
    requests: list[Request] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)


class Quiet(ThreadingHTTPServer):
    """A server that does not report clients which disconnect."""

    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        pass


@contextmanager
def serving() -> Iterator[Peer]:
    """A server that runs while a block is executed."""
    peer = Peer()
    server = Quiet(("127.0.0.1", 0), _handler(peer))
    peer.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield peer
    finally:
        peer.stopped.set()
        server.shutdown()
        server.server_close()
        thread.join(5)


def _handler(peer: Peer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            parameters = {name: values[-1] for name, values in parse_qs(parts.query).items()}
            request = Request(parts.path, parameters, {k.lower(): v for k, v in self.headers.items()})
            peer.requests.append(request)
            reply = peer.script.pop(0) if peer.script else peer.answer(request)
            peer.stopped.wait(reply.late_s)
            try:
                self._send(reply)
            except OSError:
                self.close_connection = True

        def _send(self, reply: Reply) -> None:
            body = _chunked(reply.lines) if reply.lines is not None else reply.body
            body = gzip.compress(body) if reply.compressed else body
            self.send_response(reply.status)
            for name, value in {**reply.headers, **_framing(reply, len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body if reply.cut is None else body[: reply.cut])
            self.close_connection = reply.cut is not None or self.close_connection

        def send_response(self, code: int, message: str | None = None) -> None:
            """Without the machine's date, so that a reply can set another."""
            self.send_response_only(code, message)

        def log_message(self, *_: object) -> None:
            pass

    return Handler


def _framing(reply: Reply, size: int) -> dict[str, str]:
    """The headers that say where the body ends."""
    if reply.lines is not None:
        return {"Transfer-Encoding": "chunked"}
    length = {} if reply.status == 304 else {"Content-Length": str(size)}
    return {**length, **({"Content-Encoding": "gzip"} if reply.compressed else {})}

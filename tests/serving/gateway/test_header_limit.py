"""What a connection may cost before its request is there: over real sockets, before an application that says hello."""

import asyncio
import json
import socket
import time
from collections.abc import Iterator

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

import serving.gateway.header_limit
from serving.gateway.responses import HEAD_BYTES
from tests.serving.live import Client, gateway

HELLO = b"GET /ready HTTP/1.1\r\nhost: x\r\n\r\n"
CHUNKED = b"POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"


async def ready(request: Request) -> PlainTextResponse:
    return PlainTextResponse("hello")


async def late(request: Request) -> PlainTextResponse:
    await asyncio.sleep(1.5)
    return PlainTextResponse("hello")


async def echo(request: Request) -> PlainTextResponse:
    return PlainTextResponse(f"{len(await request.body())} bytes")


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    routes = [Route("/ready", ready), Route("/late", late), Route("/echo", echo, methods=["POST"])]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(serving.gateway.header_limit, "CLIENT_S", 0.5)
        with gateway(Starlette(routes=routes)) as found:
            yield found


@pytest.fixture
def connection(client: Client) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", client.port), 20) as opened:
        yield opened


def send(connection: socket.socket, *pieces: bytes) -> None:
    """Send each piece by itself."""
    for piece in pieces:
        connection.sendall(piece)
        time.sleep(0.1)


def all_of(connection: socket.socket) -> bytes:
    """What comes until the server closes."""
    return b"".join(iter(lambda: connection.recv(65_536), b""))


def test_a_head_that_does_not_end_is_refused_as_soon_as_it_is_too_long(connection: socket.socket) -> None:
    send(connection, b"GET /ready HTTP/1.1\r\nx: ", b"x" * (HEAD_BYTES - 1_000), b"x" * 1_000)
    head, _, body = all_of(connection).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 431")
    assert json.loads(body)["error"]["code"] == "headers_too_large"


def test_a_head_of_many_megabytes_is_not_taken(connection: socket.socket) -> None:
    with pytest.raises(ConnectionError):
        connection.sendall(b"GET /ready HTTP/1.1\r\n" + b"x: %b\r\n" % (b"x" * 1_000) * 100_000)


def test_trailers_have_the_limit_of_a_head(connection: socket.socket) -> None:
    send(connection, CHUNKED + b"1\r\nx\r\n0\r\nx: ", b"x" * HEAD_BYTES, b"x")
    assert all_of(connection) == b""


@pytest.mark.parametrize("pieces", [[], [b"G"], [b"GET /rea", b"dy HTTP/1.1\r\n", b"x: y\r\n", b"z: "]])
def test_a_connection_whose_head_does_not_come_is_closed(connection: socket.socket, pieces: list[bytes]) -> None:
    began = time.monotonic()
    send(connection, *pieces)
    assert all_of(connection) == b""
    assert time.monotonic() - began < 5


def test_a_later_head_that_does_not_come_closes_the_connection_too(connection: socket.socket) -> None:
    send(connection, HELLO, HELLO[:10])
    assert all_of(connection).count(b"hello") == 1


def test_between_two_requests_a_connection_stays_open(connection: socket.socket) -> None:
    for _ in range(3):
        connection.sendall(HELLO)
        assert connection.recv(65_536).startswith(b"HTTP/1.1 200")
        time.sleep(0.7)


def test_a_long_body_in_whatever_pieces_has_no_limit_here(connection: socket.socket) -> None:
    send(connection, CHUNKED, *[b"8000\r\n" + b"x" * 0x8000 + b"\r\n"] * 8, b"0\r\n\r\n")
    assert b"262144 bytes" in connection.recv(65_536)


def test_a_stray_newline_behind_a_request_ends_no_answer(connection: socket.socket) -> None:
    send(connection, b"GET /late HTTP/1.1\r\nhost: x\r\n\r\n", b"\r\n")
    assert b"hello" in connection.recv(65_536)

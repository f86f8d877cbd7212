"""Limits of a connection before its request is complete: over real sockets, with a simple application."""

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
from serving.gateway.responses import HEADER_BYTES
from tests.serving.live import HttpClient, gateway

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
def client() -> Iterator[HttpClient]:
    routes = [Route("/ready", ready), Route("/late", late), Route("/echo", echo, methods=["POST"])]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(serving.gateway.header_limit, "CLIENT_TIMEOUT_S", 0.5)
        with gateway(Starlette(routes=routes)) as running:
            yield running


@pytest.fixture
def connection(client: HttpClient) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", client.port), 20) as opened:
        yield opened


def send(connection: socket.socket, *pieces: bytes) -> None:
    """Send each piece separately."""
    for piece in pieces:
        connection.sendall(piece)
        time.sleep(0.1)


def read_all(connection: socket.socket) -> bytes:
    """Everything until the server closes the connection."""
    return b"".join(iter(lambda: connection.recv(65_536), b""))


def test_headers_without_an_end_are_refused_as_soon_as_they_are_too_large(connection: socket.socket) -> None:
    send(connection, b"GET /ready HTTP/1.1\r\nx: ", b"x" * (HEADER_BYTES - 1_000), b"x" * 1_000)
    head, _, body = read_all(connection).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 431")
    assert json.loads(body)["error"]["code"] == "headers_too_large"


def test_headers_of_many_megabytes_are_not_accepted(connection: socket.socket) -> None:
    with pytest.raises(ConnectionError):
        connection.sendall(b"GET /ready HTTP/1.1\r\n" + b"x: %b\r\n" % (b"x" * 1_000) * 100_000)


def test_trailers_have_the_same_limit_as_headers(connection: socket.socket) -> None:
    send(connection, CHUNKED + b"1\r\nx\r\n0\r\nx: ", b"x" * HEADER_BYTES, b"x")
    assert read_all(connection) == b""


@pytest.mark.parametrize("pieces", [[], [b"G"], [b"GET /rea", b"dy HTTP/1.1\r\n", b"x: y\r\n", b"z: "]])
def test_a_connection_whose_headers_do_not_arrive_is_closed(connection: socket.socket, pieces: list[bytes]) -> None:
    began = time.monotonic()
    send(connection, *pieces)
    assert read_all(connection) == b""
    assert time.monotonic() - began < 5


def test_a_connection_whose_second_headers_do_not_arrive_is_closed(connection: socket.socket) -> None:
    send(connection, HELLO, HELLO[:10])
    assert read_all(connection).count(b"hello") == 1


def test_a_connection_stays_open_between_two_requests(connection: socket.socket) -> None:
    for _ in range(3):
        connection.sendall(HELLO)
        assert connection.recv(65_536).startswith(b"HTTP/1.1 200")
        time.sleep(0.7)


def test_a_large_body_in_many_pieces_is_not_limited_here(connection: socket.socket) -> None:
    send(connection, CHUNKED, *[b"8000\r\n" + b"x" * 0x8000 + b"\r\n"] * 8, b"0\r\n\r\n")
    assert b"262144 bytes" in connection.recv(65_536)


def test_a_stray_newline_after_a_request_does_not_end_its_answer(connection: socket.socket) -> None:
    send(connection, b"GET /late HTTP/1.1\r\nhost: x\r\n\r\n", b"\r\n")
    assert b"hello" in connection.recv(65_536)

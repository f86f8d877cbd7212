"""Request and response over ASGI: reads a body of limited size, and writes an answer piece by piece."""

import asyncio
import contextlib
import json
import time
from collections.abc import Coroutine, Mapping
from typing import Any

from starlette.types import Message, Receive, Send

from serving.gateway.requests import BODY_BYTES, Refused

CLIENT_TIMEOUT_S = 10.0
"""Time limit for a client to send its request, and to take the last piece of its answer."""
HEADER_BYTES = 32 << 10
HEADERS_TOO_LARGE = 431, "headers_too_large", f"The headers have {HEADER_BYTES:,} characters at most."


class ResponseWriter:
    """Writes the response to one request: ``prepare`` it, ``send`` pieces, ``end`` it once."""

    def __init__(self, send: Send, headers: Mapping[str, str]) -> None:
        self._send, self._headers = send, headers
        self._status_and_type: tuple[int, str] = (500, "application/json")
        self.started = False
        """Whether the status has been sent."""
        self.client_wait_s = 0.0
        """Seconds spent waiting for the client to take the answer: not the version's latency."""

    def prepare(self, status: int, content_type: str) -> None:
        """Set what is sent with the first piece."""
        self._status_and_type = status, content_type

    async def send(self, data: bytes) -> None:
        """Send a piece at once."""
        await self._start({})
        await self._send_timed({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self, data: bytes) -> None:
        """Send the last piece, unless the client does not take it in time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLIENT_TIMEOUT_S):
                await self._start({"content-length": str(len(data))})
                await self._send_timed({"type": "http.response.body", "body": data, "more_body": False})

    async def _start(self, more: Mapping[str, str]) -> None:
        if self.started:
            return
        self.started = True
        status, content_type = self._status_and_type
        headers = {"content-type": content_type, **self._headers, **more}
        encoded = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
        await self._send_timed({"type": "http.response.start", "status": status, "headers": encoded})

    async def _send_timed(self, message: Message) -> None:
        began = time.monotonic()
        try:
            await self._send(message)
        finally:
            self.client_wait_s += time.monotonic() - began


async def cancel_on_disconnect(receive: Receive, work: Coroutine[Any, Any, None]) -> None:
    """Run ``work``, and cancel it as soon as the client disconnects."""
    task, disconnect = asyncio.current_task(), asyncio.ensure_future(receive())
    assert task
    finished = disconnected = False

    def cancel(_: object) -> None:
        nonlocal disconnected
        if not finished:
            disconnected = task.cancel()

    disconnect.add_done_callback(cancel)
    try:
        await work
    except asyncio.CancelledError:
        if disconnected:
            task.uncancel()
        if task.cancelling():
            raise  # the server is stopping
    finally:
        finished = True
        disconnect.cancel()


def error_body(status: int, code: str, message: str) -> bytes:
    """An error in the form of OpenAI's services."""
    kinds = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}
    kind = kinds.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return json.dumps({"error": {"message": message, "type": kind, "param": None, "code": code}}).encode()


async def read_body(receive: Receive, headers: Mapping[str, str]) -> bytes:
    """The request's body. Raises ``Refused`` where it is too large or too slow, or the headers are too large."""
    if sum(map(len, headers)) + sum(map(len, headers.values())) > HEADER_BYTES:
        raise Refused(*HEADERS_TOO_LARGE)
    declared, data, more = headers.get("content-length", ""), bytearray(), True
    size = int(declared) if declared.isdecimal() else 0
    try:
        async with asyncio.timeout(CLIENT_TIMEOUT_S):
            while more and size <= BODY_BYTES:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Refused(499, "client_left", "The client left.")
                data += message.get("body", b"")
                size, more = len(data), message.get("more_body", False)
    except TimeoutError:
        raise Refused(408, "slow_request", f"The request did not come within {CLIENT_TIMEOUT_S:.0f} s.") from None
    if size > BODY_BYTES:
        raise Refused(413, "request_too_large", f"A request has {BODY_BYTES:,} bytes at most.")
    return bytes(data)

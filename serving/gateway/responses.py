"""The gateway's side of a conversation over ASGI: a body of bounded size in, pieces of an answer out."""

import asyncio
import contextlib
import json
import time
from collections.abc import Coroutine, Mapping
from typing import Any

from starlette.types import Message, Receive, Send

from serving.gateway.requests import BODY_BYTES, Refused

CLIENT_S = 10.0
"""How long a client may take over its request, and over the last piece of its answer."""
HEAD_BYTES = 32 << 10
HEADERS_TOO_LARGE = 431, "headers_too_large", f"The headers have {HEAD_BYTES:,} characters at most."


class Reply:
    """An answer to one request: prepared, sent piece by piece, ended once."""

    def __init__(self, send: Send, headers: Mapping[str, str]) -> None:
        self._send, self._headers = send, headers
        self._head: tuple[int, str] = (500, "application/json")
        self.started = False
        """Whether the client has seen the status."""
        self.waited = 0.0
        """Seconds that the client let the answer wait: no version's fault."""

    def prepare(self, status: int, content_type: str) -> None:
        """Say what the head will be, as long as it has not been sent."""
        self._head = status, content_type

    async def send(self, data: bytes) -> None:
        """Send a piece at once."""
        await self._start({})
        await self._pass({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self, data: bytes) -> None:
        """Send the last piece; a client that does not take it in time goes without it."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLIENT_S):
                await self._start({"content-length": str(len(data))})
                await self._pass({"type": "http.response.body", "body": data, "more_body": False})

    async def _start(self, more: Mapping[str, str]) -> None:
        if self.started:
            return
        self.started = True
        status, content_type = self._head
        headers = {"content-type": content_type, **self._headers, **more}
        plain = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
        await self._pass({"type": "http.response.start", "status": status, "headers": plain})

    async def _pass(self, message: Message) -> None:
        began = time.monotonic()
        try:
            await self._send(message)
        finally:
            self.waited += time.monotonic() - began


async def unless_gone(receive: Receive, work: Coroutine[Any, Any, None]) -> None:
    """Do the work; give it up as soon as the client has gone."""
    this, listening = asyncio.current_task(), asyncio.ensure_future(receive())
    assert this
    over = gone = False

    def leave(_: object) -> None:
        nonlocal gone
        if not over:
            gone = this.cancel()

    listening.add_done_callback(leave)
    try:
        await work
    except asyncio.CancelledError:
        if gone:
            this.uncancel()
        if this.cancelling():
            raise  # it is the server that ends
    finally:
        over = True
        listening.cancel()


def error_body(status: int, code: str, message: str) -> bytes:
    """An error as OpenAI's services tell it."""
    kinds = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}
    kind = kinds.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return json.dumps({"error": {"message": message, "type": kind, "param": None, "code": code}}).encode()


async def read_body(receive: Receive, headers: Mapping[str, str]) -> bytes:
    """The request's body.

    Raises:
        Refused: it is too long, or does not come.
    """
    try:
        async with asyncio.timeout(CLIENT_S):
            return await _read(receive, headers)
    except TimeoutError:
        raise Refused(408, "slow_request", f"The request did not come within {CLIENT_S:.0f} s.") from None


async def _read(receive: Receive, headers: Mapping[str, str]) -> bytes:
    if sum(map(len, headers)) + sum(map(len, headers.values())) > HEAD_BYTES:
        raise Refused(*HEADERS_TOO_LARGE)
    declared = headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > BODY_BYTES:
        raise _too_long()
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refused(499, "client_left", "The client left.")
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > BODY_BYTES:
            raise _too_long()
        if not message.get("more_body"):
            return b"".join(parts)


def _too_long() -> Refused:
    return Refused(413, "request_too_large", f"A request has {BODY_BYTES:,} bytes at most.")

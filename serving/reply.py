"""The gateway's side of a conversation over ASGI: a body of bounded size in, pieces of an answer out."""

import json
from collections.abc import Mapping

from starlette.types import Receive, Send

from serving.asking import BODY_BYTES, Refused


class Reply:
    """An answer to one request: prepared, sent piece by piece, ended once."""

    def __init__(self, send: Send, headers: Mapping[str, str]) -> None:
        self._send, self._headers = send, headers
        self._head: tuple[int, str] = (500, "application/json")
        self.started = False
        """Whether the client has seen the status."""

    def prepare(self, status: int, content_type: str) -> None:
        """Say what the head will be, as long as it has not been sent."""
        self._head = status, content_type

    async def send(self, data: bytes) -> None:
        """Send a piece at once."""
        await self._start({})
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self, data: bytes) -> None:
        """Send the last piece."""
        await self._start({"content-length": str(len(data))})
        await self._send({"type": "http.response.body", "body": data, "more_body": False})

    async def _start(self, more: Mapping[str, str]) -> None:
        if self.started:
            return
        self.started = True
        status, content_type = self._head
        headers = {"content-type": content_type, **self._headers, **more}
        plain = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": plain})


def error_body(status: int, code: str, message: str) -> bytes:
    """An error as OpenAI's services tell it."""
    kinds = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}
    kind = kinds.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return json.dumps({"error": {"message": message, "type": kind, "param": None, "code": code}}).encode()


async def read_body(receive: Receive, headers: Mapping[str, str]) -> bytes:
    """The request's body.

    Raises:
        Refused: it is too long.
    """
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

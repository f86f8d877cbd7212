"""A limit for the heads of requests, in bytes and in time: who sends one has shown no key yet.

httptools keeps a head until it is whole, and uvicorn waits for it however long it takes. So what came since the last
whole head or piece of a body is counted here, which bounds the trailers of a chunked body as well.
"""

import asyncio

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from serving.gateway.responses import CLIENT_S, HEAD_BYTES, HEADERS_TOO_LARGE, error_body


class BoundedHeads(HttpToolsProtocol):
    """uvicorn's protocol for one connection; between two requests, its ``timeout_keep_alive`` is in force."""

    _pending_bytes = 0
    """What came and is neither a whole head nor part of a body."""
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first head."""
        super().connection_made(transport)
        self._deadline = self.loop.call_later(CLIENT_S, self._expire)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        self._advance()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came; close the connection where it is too much of nothing."""
        self._pending_bytes += len(data)
        super().data_received(data)
        if self._pending_bytes > HEAD_BYTES:
            self._refuse()
        elif self._pending_bytes and self._deadline is None:
            self._deadline = self.loop.call_later(CLIENT_S, self._expire)

    def on_headers_complete(self) -> None:
        """A head is whole."""
        self._advance()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of a body came."""
        self._advance()
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A request is whole."""
        self._advance()
        super().on_message_complete()

    @property
    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _advance(self) -> None:
        self._pending_bytes = 0
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _expire(self) -> None:
        self._deadline = None
        if not self._answering:  # a stray newline behind a request ends no answer
            self.transport.close()

    def _refuse(self) -> None:
        if not self._answering and not self.transport.is_closing():
            body = error_body(*HEADERS_TOO_LARGE)
            head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body)
            self.transport.write(STATUS_LINE[431] + head + body)
        self.transport.close()

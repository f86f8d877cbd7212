"""A limit for the headers of a request, in bytes and in time: its sender has not shown a key yet.

httptools keeps a request's headers until they are complete, and uvicorn waits for them without a limit. So the bytes
since the last complete headers or piece of a body are counted here, which limits the trailers of a chunked body too.
"""

import asyncio

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from serving.gateway.responses import CLIENT_TIMEOUT_S, HEADER_BYTES, HEADERS_TOO_LARGE, error_body


class HeaderLimitProtocol(HttpToolsProtocol):
    """uvicorn's protocol for one connection; its ``timeout_keep_alive`` still applies between two requests."""

    _pending_bytes = 0
    """Bytes received that are neither complete headers nor part of a body."""
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._deadline = self.loop.call_later(CLIENT_TIMEOUT_S, self._expire)

    def connection_lost(self, exc: Exception | None) -> None:
        self._reset()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse the data; refuse the connection if too much of it is neither headers nor body."""
        self._pending_bytes += len(data)
        super().data_received(data)
        if self._pending_bytes > HEADER_BYTES:
            self._refuse()
        elif self._pending_bytes and self._deadline is None:
            self._deadline = self.loop.call_later(CLIENT_TIMEOUT_S, self._expire)

    def on_headers_complete(self) -> None:
        self._reset()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._reset()
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._reset()
        super().on_message_complete()

    @property
    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _reset(self) -> None:
        self._pending_bytes = 0
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _expire(self) -> None:
        self._deadline = None
        if not self._answering:  # a stray newline after a request must not end its answer
            self.transport.close()

    def _refuse(self) -> None:
        if not self._answering and not self.transport.is_closing():
            body = error_body(*HEADERS_TOO_LARGE)
            headers = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body)
            self.transport.write(STATUS_LINE[431] + headers + body)
        self.transport.close()

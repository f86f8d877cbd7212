"""A bounded HTTP client for the servers that are pulled from, which may be down, slow, overloaded or wrong.

Connecting, the next byte, a whole response and the sum of all waits have time limits, and a response has a size limit.
What may succeed later (no connection, a timeout, 5xx, 429, a truncated response) is retried after a wait that doubles,
has an upper limit and is random, so that many clients do not return at once; a server's ``Retry-After`` is obeyed. What
will not succeed later (any other 4xx, a redirect, a body that is not JSON) fails at once. Connections are kept open,
because a window takes many requests.

Redirects are not followed: they would carry the token to another host.
"""

import json
import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import urllib3
from urllib3.exceptions import HTTPError, InvalidHeader, MaxRetryError
from urllib3.util import Retry

from errors import PeerError, SourceError
from lake.sources.http_errors import TransientError, error_message, is_rate_limited, kind_of
from lake.sources.response_log import Parameters, ResponseLog
from settings import Endpoint

log = logging.getLogger("fuelline.sources")

PIECE_BYTES = 64 << 10
SKEW_S = 60.0
"""The difference of two clocks from which on it is worth a warning."""


class ResponseTooLarge(SourceError):
    """A response is larger than the limit: request less at once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """The time and the bytes that a server may take."""

    connect_s: float = 5.0
    read_s: float = 30.0
    """Until the next byte."""
    answer_s: float = 120.0
    """For a whole response, so that one which arrives byte by byte ends too."""
    body_bytes: int = 64 << 20
    tries: int = 5
    """Of one request."""
    backoff_s: float = 0.5
    """Upper limit of the first wait; it doubles with each try."""
    backoff_max_s: float = 30.0
    patience_s: float = 300.0
    """The longest wait that a server may request."""
    between_s: float = 0.0
    """The least time between two requests."""

    def __post_init__(self) -> None:
        if self.tries < 1 or min(self.connect_s, self.read_s, self.answer_s, self.body_bytes) <= 0:
            raise ValueError(f"tries, times and sizes must be above 0, unlike in {self}")


@dataclass(frozen=True, kw_only=True, slots=True)
class HttpResponse:
    """A whole response with a status that was expected."""

    status: int
    headers: Mapping[str, str]
    """By name in upper or lower case."""
    body: bytes


class _Backoff(Retry):
    """urllib3's retries, with a random wait before the first one already, and with GitHub's time of the next quota."""

    def get_backoff_time(self) -> float:
        limit = min(self.backoff_max, self.backoff_factor * 2 ** (len(self.history) - 1))
        return random.uniform(limit / 2, limit)

    def get_retry_after(self, response: urllib3.BaseHTTPResponse) -> float | None:
        """Seconds that the server requests; None where it requests none, or what cannot be read."""
        try:
            stated = super().get_retry_after(response)
        except InvalidHeader:
            return None
        reset = response.headers.get("X-RateLimit-Reset", "")
        if stated is None and reset.isdecimal() and response.headers.get("X-RateLimit-Remaining") == "0":
            return max(1.0, int(reset) - time.time())
        return stated


@dataclass
class HttpClient:
    """A client of one server. Not to be shared between threads."""

    endpoint: Endpoint
    limits: Limits = field(default_factory=Limits)
    sleep: Callable[[float], None] = time.sleep
    requests: int = 0
    """Sent so far, failed ones included."""
    faults: Counter[str] = field(default_factory=Counter)
    """Failures that a retry resolved, by kind."""
    skew_s: float = 0.0
    """How far the server's clock is ahead of this one, by its last response; to the second."""
    responses: ResponseLog | None = None
    """Where every whole response, and each piece of a stream, is recorded unchanged."""

    def __post_init__(self) -> None:
        timeout = urllib3.Timeout(connect=self.limits.connect_s, read=self.limits.read_s)
        self._pool = urllib3.PoolManager(timeout=timeout, retries=False)
        token = self.endpoint.token.get_secret_value()
        self._headers = {"Accept-Encoding": "gzip", **({"Authorization": f"Bearer {token}"} if token else {})}
        self._next_request_at = 0.0

    def __str__(self) -> str:
        return f"{self.endpoint.peer} {self.endpoint.cluster!r}"

    def get(
        self,
        path: str,
        parameters: Mapping[str, str | int] = {},
        *,
        headers: Mapping[str, str] = {},
        expected: tuple[int, ...] = (200,),
    ) -> HttpResponse:
        """Request one whole response, with one of the ``expected`` statuses, retrying within the limits.

        Raises:
            PeerError: the server is down, slow, overloaded or breaks off, at every try.
            SourceError: it refuses the request, or redirects it.
            ResponseTooLarge: the body is larger than ``limits.body_bytes``.
        """
        limits = self.limits
        retries: Retry = _Backoff(limits.tries - 1, backoff_factor=limits.backoff_s, backoff_max=limits.backoff_max_s)
        while True:
            try:
                with self._opened(path, parameters, headers, expected) as response:
                    body = self._read(path, response)
                break
            except (HTTPError, OSError) as error:
                retries = self._wait(path, error, retries)
        self._record(path, parameters, response.status, body)
        return HttpResponse(status=response.status, headers=response.headers, body=body)

    def get_json(self, path: str, parameters: Mapping[str, str | int] = {}) -> Any:
        """One response as JSON. Raises what ``get`` raises, and ``PeerError`` where it is not JSON."""
        return self.decode(path, self.get(path, parameters).body)

    def decode(self, path: str, body: bytes) -> Any:
        """A body as JSON. It is not requested again, because a server that sends a web page will do so again."""
        try:
            return json.loads(body)
        except ValueError as error:
            self.faults["malformed"] += 1
            raise PeerError(f"{self}: {path} answered {len(body)} bytes that are not JSON") from error

    def lines(self, path: str, parameters: Parameters, *, expected: tuple[int, ...]) -> Iterator[bytes]:
        """The lines of a stream until the server ends it. It is not retried: the caller knows where to continue.

        Raises:
            PeerError: the stream could not be opened or breaks off.
            ResponseTooLarge: one line is larger than a whole response may be.
        """
        try:
            with self._opened(path, parameters, {}, expected) as response:
                rest = b""
                for piece in response.stream(PIECE_BYTES, decode_content=True):
                    self._record(path, parameters, response.status, piece)
                    *lines, rest = (rest + piece).split(b"\n")
                    yield from lines
                    self._check_size(path, len(rest))
                if rest:
                    yield rest
        except (HTTPError, OSError) as error:
            kind = kind_of(error)
            self.faults[kind] += 1
            raise PeerError(f"{self}: the stream of {path} ended early: {kind}") from error

    def _record(self, path: str, parameters: Parameters, status: int, body: bytes) -> None:
        if self.responses:
            self.responses.record(path, parameters, status, body)

    @contextmanager
    def _opened(
        self, path: str, parameters: Parameters, headers: Mapping[str, str], expected: tuple[int, ...]
    ) -> Iterator[urllib3.BaseHTTPResponse]:
        if (early := self._next_request_at - time.monotonic()) > 0:
            self.sleep(early)
        self._next_request_at = time.monotonic() + self.limits.between_s
        self.requests += 1
        response = self._pool.request(
            "GET",
            self.endpoint.url + path,
            fields={name: str(value) for name, value in parameters.items()},
            headers={**self._headers, **headers},
            preload_content=False,
            redirect=False,
        )
        try:
            self._compare_clocks(response.headers.get("Date", ""))
            self._check_status(path, response, expected)
            yield response
        except BaseException:
            response.close()  # the rest of it is not read
            raise
        response.release_conn()

    def _check_status(self, path: str, response: urllib3.BaseHTTPResponse, expected: tuple[int, ...]) -> None:
        status = response.status
        if status in expected:
            return
        if status == 429 or status >= 500 or is_rate_limited(response):
            raise TransientError(str(status), response)
        setting = f"FUELLINE_{self.endpoint.peer.upper()}"
        if 300 <= status < 400:
            raise SourceError(f"{self}: {path} redirects ({status}); set {setting} to the server's new address")
        if status in (401, 403):
            raise SourceError(f"{self} refuses {path} ({status}); {setting}_TOKEN needs a token that may read it")
        raise SourceError(f"{self} refuses {path} ({status}){error_message(response.read(PIECE_BYTES))}")

    def _read(self, path: str, response: urllib3.BaseHTTPResponse) -> bytes:
        begun, body = time.monotonic(), bytearray()
        for piece in response.stream(PIECE_BYTES, decode_content=True):
            body += piece
            self._check_size(path, len(body))
            if time.monotonic() - begun > self.limits.answer_s:
                raise TransientError("slow")
        return bytes(body)

    def _check_size(self, path: str, size: int) -> None:
        if size > self.limits.body_bytes:
            raise ResponseTooLarge(
                f"{self}: {path} answers with more than {self.limits.body_bytes} bytes; request less at once"
            )

    def _wait(self, path: str, error: HTTPError | OSError, retries: Retry) -> Retry:
        """Wait before the next try and return the retries that are left. Raises ``PeerError`` where this was the last
        try, or the server requests a longer wait than ``limits.patience_s``.
        """
        kind, response = kind_of(error), error.response if isinstance(error, TransientError) else None
        self.faults[kind] += 1
        try:
            retries = retries.increment("GET", path, response=response, error=error)
        except MaxRetryError:
            raise PeerError(f"{self}: {path} failed {self.limits.tries} times, at last: {kind}") from None
        stated = retries.get_retry_after(response) if response else None
        if stated is not None and stated > self.limits.patience_s:
            raise PeerError(f"{self}: {path} ({kind}) may be requested again in {stated:.0f} s, not before")
        wait_s = retries.get_backoff_time() if stated is None else stated
        log.info("%s: %s failed (%s), the next try is in %.1f s", self, path, kind, wait_s)
        self.sleep(wait_s)
        return retries

    def _compare_clocks(self, date: str) -> None:
        try:
            skew = (parsedate_to_datetime(date).astimezone(UTC) - datetime.now(UTC)).total_seconds()
        except ValueError:
            return  # no date
        if abs(skew) > SKEW_S >= abs(self.skew_s):
            log.warning("%s: its clock differs by %+.0f s from this one", self, skew)
        self.skew_s = skew

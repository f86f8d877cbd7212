"""A bounded HTTP client for servers that stand elsewhere, and that may be down, slow, overloaded or wrong.

Nothing waits without end: connecting, the next byte, the whole answer and the sum of all waits have limits, and so has
an answer's size. What may be better a moment later (no connection, a timeout, 5xx, 429, an answer that breaks off) is
tried again after a wait that doubles, has a cap and is drawn at random, so that many readers do not come back at once;
a server that says when to come back is taken at its word. What will not be better (any other 4xx, a redirect, an answer
that is no JSON) fails at once. Connections are kept, because a window takes many requests.

Redirects are not followed: they would carry the token to another host.
"""

import json
import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import urllib3
from urllib3.exceptions import HTTPError

from errors import PeerError, SourceError
from lake.sources.http_errors import date_of, is_limited, kind_of, lower, said
from lake.sources.response_log import Answers
from settings import Endpoint

log = logging.getLogger("fuelline.sources")

Parameters = Sequence[tuple[str, str]]

PIECE_BYTES = 64 << 10
SKEW_S = 60.0
"""From how far apart on two clocks are worth a warning."""


class AnswerTooLarge(SourceError):
    """An answer is larger than the limit: ask for less at once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What a server may cost."""

    connect_s: float = 5.0
    read_s: float = 30.0
    """Until the next byte."""
    answer_s: float = 120.0
    """For a whole answer, so that a trickle ends too."""
    body_bytes: int = 64 << 20
    tries: int = 5
    """Of one request."""
    backoff_s: float = 0.5
    """Upper end of the first wait; it doubles with each try."""
    backoff_max_s: float = 30.0
    patience_s: float = 300.0
    """The longest wait that a server may ask for."""
    between_s: float = 0.0
    """From one request to the next at least."""

    def __post_init__(self) -> None:
        if self.tries < 1 or min(self.connect_s, self.read_s, self.answer_s, self.body_bytes) <= 0:
            raise ValueError(f"tries, times and sizes must be above 0, unlike in {self}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """A whole answer with a status that was expected."""

    status: int
    headers: Mapping[str, str]
    """By name in lower case."""
    body: bytes


class _Fault(Exception):
    """Something that may be better a moment later."""

    def __init__(self, kind: str, wait_s: float | None = None) -> None:
        self.kind, self.wait_s = kind, wait_s  # wait_s: what the server asked for
        super().__init__(kind)


@dataclass
class Remote:
    """One server. Not to be shared between threads."""

    endpoint: Endpoint
    limits: Limits = field(default_factory=Limits)
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    requests: int = 0
    """Sent so far, those that failed among them."""
    faults: Counter[str] = field(default_factory=Counter)
    """What went wrong and was mended by trying again, by kind."""
    skew_s: float = 0.0
    """How far the server's clock is ahead of this one, as its last answer said; to the second."""
    answers: Answers | None = None
    """Where every whole answer is written down as it came, and each piece of a stream."""

    def __post_init__(self) -> None:
        timeout = urllib3.Timeout(connect=self.limits.connect_s, read=self.limits.read_s)
        self._pool = urllib3.PoolManager(timeout=timeout, retries=False)
        self._free_at = 0.0

    def __str__(self) -> str:
        return f"{self.endpoint.peer} {self.endpoint.cluster!r}"

    def get(
        self,
        path: str,
        parameters: Parameters = (),
        *,
        headers: Mapping[str, str] | None = None,
        expected: tuple[int, ...] = (200,),
    ) -> Answer:
        """One answer, whole, whatever it takes within the limits.

        Args:
            path: after the server's address.
            parameters: of the query, in order.
            headers: beside the token's.
            expected: statuses that the caller can use.

        Raises:
            PeerError: the server is down, slow, overloaded or breaks off, at every try.
            SourceError: it refuses the request, or sends the reader elsewhere.
            AnswerTooLarge: as it says.
        """
        for tried in range(1, self.limits.tries + 1):
            try:
                with self._opened(path, parameters, headers, expected) as response:
                    body = self._whole(path, response)
                    self._keep(path, parameters, response.status, body)
                    return Answer(status=response.status, headers=lower(response.headers), body=body)
            except _Fault as fault:
                self._wait(path, fault, tried)
        raise AssertionError("the last try raises")

    def get_json(self, path: str, parameters: Parameters = ()) -> Any:
        """One answer as JSON. Raises what ``get`` raises, and ``PeerError`` where it is no JSON."""
        return self.decode(path, self.get(path, parameters).body)

    def decode(self, path: str, body: bytes) -> Any:
        """A body as JSON; it is not asked for again, because a server that sends a web page goes on doing so."""
        try:
            return json.loads(body)
        except ValueError as error:
            self.faults["malformed"] += 1
            raise PeerError(f"{self}: {path} answered {len(body)} bytes that are no JSON") from error

    def lines(self, path: str, parameters: Parameters, *, also: tuple[int, ...] = ()) -> Iterator[bytes]:
        """A stream's lines as they come, until the server ends it. Not tried again: the reader knows where it stands.

        Args:
            path: after the server's address.
            parameters: of the query, in order.
            also: statuses beside 200 whose answer has lines that the caller can use.

        Raises:
            PeerError: the stream could not be opened or breaks off.
            AnswerTooLarge: one line is larger than a whole answer may be.
        """
        try:
            with self._opened(path, parameters, None, (200, *also)) as response:
                rest = b""
                for piece in response.stream(PIECE_BYTES, decode_content=True):
                    self._keep(path, parameters, response.status, piece)
                    *lines, rest = (rest + piece).split(b"\n")
                    yield from lines
                    self._check_size(path, len(rest))
                if rest:
                    yield rest
        except (_Fault, HTTPError, OSError) as error:
            kind = error.kind if isinstance(error, _Fault) else kind_of(error)
            self.faults[kind] += 1
            raise PeerError(f"{self}: the stream of {path} ended early: {kind}") from error

    def _keep(self, path: str, parameters: Parameters, status: int, body: bytes) -> None:
        if self.answers:
            self.answers.keep(path, parameters, status, body)

    @contextmanager
    def _opened(
        self, path: str, parameters: Parameters, headers: Mapping[str, str] | None, expected: tuple[int, ...]
    ) -> Iterator[urllib3.BaseHTTPResponse]:
        if (early := self._free_at - time.monotonic()) > 0:
            self.sleep(early)
        self._free_at = time.monotonic() + self.limits.between_s
        self.requests += 1
        try:
            response = self._pool.request(
                "GET",
                self.endpoint.url + path,
                fields=list(parameters),
                headers={**self._credentials(), "Accept-Encoding": "gzip", **(headers or {})},
                preload_content=False,
                redirect=False,
            )
        except (HTTPError, OSError) as error:
            raise _Fault(kind_of(error)) from error
        try:
            self._look_at_clock(response)
            self._judge(path, response, expected)
            yield response
        finally:
            response.close() if response.status not in expected else response.release_conn()

    def _credentials(self) -> dict[str, str]:
        token = self.endpoint.token.get_secret_value()
        return {"Authorization": f"Bearer {token}"} if token else {}

    def _judge(self, path: str, response: urllib3.BaseHTTPResponse, expected: tuple[int, ...]) -> None:
        """Pass an expected status; raise a fault that may pass, or an error that will not."""
        status = response.status
        if status in expected:
            return
        if status == 429 or status >= 500 or is_limited(response):
            raise _Fault(str(status), self._asked_for(response))
        setting = f"FUELLINE_{self.endpoint.peer.upper()}"
        if 300 <= status < 400:
            raise SourceError(f"{self}: {path} redirects ({status}); set {setting} to where the server is now")
        if status in (401, 403):
            raise SourceError(f"{self} refuses {path} ({status}); {setting}_TOKEN lacks a token that may read it")
        raise SourceError(f"{self} refuses {path} ({status}){said(response.read(PIECE_BYTES))}")

    def _whole(self, path: str, response: urllib3.BaseHTTPResponse) -> bytes:
        begun, size, pieces = time.monotonic(), 0, []
        try:
            for piece in response.stream(PIECE_BYTES, decode_content=True):
                size += len(piece)
                self._check_size(path, size)
                if time.monotonic() - begun > self.limits.answer_s:
                    raise _Fault("slow")
                pieces.append(piece)
        except (HTTPError, OSError) as error:
            raise _Fault(kind_of(error)) from error
        except (_Fault, AnswerTooLarge):
            response.close()  # what is left of it is not wanted
            raise
        return b"".join(pieces)

    def _check_size(self, path: str, size: int) -> None:
        if size > self.limits.body_bytes:
            raise AnswerTooLarge(f"{self}: {path} answers with more than {self.limits.body_bytes} bytes; ask for less")

    def _wait(self, path: str, fault: _Fault, tried: int) -> None:
        """Wait before the next try, or raise after the last."""
        self.faults[fault.kind] += 1
        if tried == self.limits.tries:
            raise PeerError(f"{self}: {path} failed {tried} times, at last: {fault.kind}")
        if fault.wait_s is not None and fault.wait_s > self.limits.patience_s:
            raise PeerError(f"{self}: {path} ({fault.kind}) is to be asked again in {fault.wait_s:.0f} s, not before")
        cap = min(self.limits.backoff_max_s, self.limits.backoff_s * 2 ** (tried - 1))
        pause = fault.wait_s if fault.wait_s is not None else random.uniform(cap / 2, cap)
        log.info("%s: %s failed (%s), try %d follows in %.1f s", self, path, fault.kind, tried + 1, pause)
        self.sleep(pause)

    def _asked_for(self, response: urllib3.BaseHTTPResponse) -> float | None:
        """Seconds that the server asks for: ``Retry-After`` as a number or a date, or GitHub's time of the next
        quota.
        """
        after, reset = response.headers.get("Retry-After", ""), response.headers.get("X-RateLimit-Reset", "")
        if after.isdecimal():
            return float(after)
        if after:
            return max(0.0, (date_of(after, self.clock()) - self.clock()).total_seconds())
        if reset.isdecimal() and response.headers.get("X-RateLimit-Remaining") == "0":
            return max(1.0, int(reset) - self.clock().timestamp())
        return None

    def _look_at_clock(self, response: urllib3.BaseHTTPResponse) -> None:
        if stated := response.headers.get("Date"):
            now = self.clock()
            skew = (date_of(stated, now) - now).total_seconds()
            if abs(skew) > SKEW_S >= abs(self.skew_s):
                log.warning("%s: its clock is %+.0f s from this one", self, skew)
            self.skew_s = skew

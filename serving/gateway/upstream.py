"""The way to vLLM: replicas in turn, one that takes no connection passed over, and never a request sent twice."""

import itertools
import logging
import time
from collections.abc import Sequence

import aiohttp

from serving.gateway.metrics import Metrics

log = logging.getLogger("fuelline.gateway")

CONNECT_S = 1.0
REST_S = 2.0
"""How long a replica that took no connection is asked last."""
KEEP_ALIVE_S = 3.0
"""Shorter than the five seconds after which vLLM's server closes an idle connection: neither meets the other's end."""


NOT_TAKEN = "X-Not-Taken"
"""What the door of a pod (``deploy/nginx.conf``) says where its vLLM took no connection."""


class Unreachable(Exception):
    """No replica took the connection; nothing was sent."""


class NotLoaded(Exception):
    """No replica that took the connection knows the version; nothing has begun."""


class Upstream:
    """All replicas of vLLM, behind one pool of connections. Belongs to one event loop."""

    def __init__(self, replicas: Sequence[str], metrics: Metrics) -> None:
        self._replicas, self._metrics = replicas, metrics
        self._turns = itertools.count()
        self._rests_until = dict.fromkeys(replicas, 0.0)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_S),
            cookie_jar=aiohttp.DummyCookieJar(),  # one answer's cookies are no business of the next
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S),
            auto_decompress=False,
            headers={"Accept-Encoding": "identity"},
        )

    async def ask(self, body: bytes, request_id: str) -> aiohttp.ClientResponse:
        """Send one request; the answer's head. The caller closes it.

        Each replica is tried once, and the next one only where it has not taken the connection, or does not know the
        version: otherwise it may be at work.

        Raises:
            Unreachable: no replica took the connection.
            NotLoaded: one did, but does not know the version, and the others took none.
            aiohttp.ClientError: the connection broke.
        """
        headers = {"Content-Type": "application/json", "X-Request-Id": request_id}
        turns, unknown = self._in_turn(), False
        for replica in turns:
            try:
                answer = await self._session.post(f"{replica}/v1/chat/completions", data=body, headers=headers)
                if answer.headers.get(NOT_TAKEN):
                    answer.release()
                    self._rest(replica, "its door finds no vLLM")
                elif answer.status != 404 or replica == turns[-1]:
                    return answer
                else:
                    answer.release()  # it was restarted, and the version is not back yet: nothing has begun there
                    unknown = True
            except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
                self._rest(replica, type(error).__name__)
        raise NotLoaded if unknown else Unreachable

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

    def _rest(self, replica: str, why: str) -> None:
        self._rests_until[replica] = time.monotonic() + REST_S
        self._metrics.unreachable.labels(replica).inc()
        log.warning("%s takes no connection: %s", replica, why)

    def _in_turn(self) -> list[str]:
        """The next one first; those that rest, last."""
        first, now = next(self._turns), time.monotonic()
        order = [self._replicas[(first + n) % len(self._replicas)] for n in range(len(self._replicas))]
        return sorted(order, key=lambda replica: self._rests_until[replica] > now)

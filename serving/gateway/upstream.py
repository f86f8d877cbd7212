"""The connections to vLLM: replicas in turn, skipping one that accepts no connection, and no request sent twice."""

import itertools
import logging
import time
from collections.abc import Sequence

import aiohttp

from serving.gateway.metrics import GatewayMetrics

log = logging.getLogger("fuelline.gateway")

CONNECT_TIMEOUT_S = 1.0
UNREACHABLE_S = 2.0
"""How long a replica that accepted no connection is tried last."""
KEEP_ALIVE_S = 3.0
"""Below the five seconds after which vLLM's server closes an idle connection, so no request meets a closed one."""
NOT_FORWARDED = "X-Not-Taken"
"""Header of the proxy in a vLLM pod (``deploy/nginx.conf``) where its vLLM accepted no connection."""


UNREACHABLE = 503, "unreachable", "No model server takes connections."
NOT_LOADED = 502, "version_not_loaded", "The model server does not know the version that should answer."
"""No replica that accepted the connection has the version; no answer was begun."""


class UpstreamFailed(Exception):
    """The call failed; ``args`` are the status, code and message for the client. Internal to the gateway."""


class Upstream:
    """All vLLM replicas, behind one connection pool. Belongs to one event loop."""

    def __init__(self, replicas: Sequence[str], metrics: GatewayMetrics) -> None:
        self._replicas, self._metrics = replicas, metrics
        self._turns = itertools.count()
        self._unreachable_until = dict.fromkeys(replicas, 0.0)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_S),
            cookie_jar=aiohttp.DummyCookieJar(),  # cookies of one answer must not reach the next
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S),
            auto_decompress=False,
            headers={"Accept-Encoding": "identity"},
        )

    async def post(self, body: bytes, request_id: str) -> aiohttp.ClientResponse:
        """Send one request; returns the response once its headers are there. The caller closes it.

        Each replica is tried once, and the next one only if this one did not accept the connection or does not have
        the version: otherwise it may already be working on the request. Raises ``UpstreamFailed``, or
        ``aiohttp.ClientError`` where the connection broke.
        """
        headers = {"Content-Type": "application/json", "X-Request-Id": request_id}
        turns, not_loaded = self._in_order(), False
        for replica in turns:
            try:
                response = await self._session.post(f"{replica}/v1/chat/completions", data=body, headers=headers)
                if response.headers.get(NOT_FORWARDED):
                    response.release()
                    self._mark_unreachable(replica, "its proxy finds no vLLM")
                elif response.status != 404 or replica == turns[-1]:
                    return response
                else:
                    response.release()  # it restarted and has not loaded the version yet: it began no answer
                    not_loaded = True
            except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
                self._mark_unreachable(replica, type(error).__name__)
        raise UpstreamFailed(*(NOT_LOADED if not_loaded else UNREACHABLE))

    async def close(self) -> None:
        await self._session.close()

    def _mark_unreachable(self, replica: str, why: str) -> None:
        self._unreachable_until[replica] = time.monotonic() + UNREACHABLE_S
        self._metrics.unreachable.labels(replica).inc()
        log.warning("%s accepts no connection: %s", replica, why)

    def _in_order(self) -> list[str]:
        """The replicas from the next in turn on; those marked unreachable last."""
        first, now = next(self._turns), time.monotonic()
        order = [self._replicas[(first + n) % len(self._replicas)] for n in range(len(self._replicas))]
        return sorted(order, key=lambda replica: self._unreachable_until[replica] > now)

"""The parts of one running gateway, shared by its endpoints."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from serving.gateway.features import OnlineFeatureClient
from serving.gateway.metrics import GatewayMetrics
from serving.gateway.records import SlottedClock
from serving.gateway.requests import Refused
from serving.gateway.route_cache import RouteCache
from serving.gateway.spool import Spool
from serving.gateway.upstream import Upstream
from settings import Settings


@dataclass(kw_only=True, slots=True)
class Gateway:
    """All parts of a running gateway. Belongs to the event loop."""

    settings: Settings
    metrics: GatewayMetrics
    spool: Spool
    route_cache: RouteCache
    features: OnlineFeatureClient
    clock: SlottedClock
    upstream: Upstream = field(init=False)
    """Set once the event loop runs."""
    concurrency: int
    """Limit of concurrent requests. There is one because each holds a body and an answer in memory."""
    in_flight: int = 0

    @contextlib.contextmanager
    def slot(self) -> Iterator[None]:
        """Count a request as in progress for the length of the context. Raises ``Refused`` (429) at the limit."""
        if self.in_flight >= self.concurrency:
            raise Refused(429, "too_many_requests", "Too many requests are under way; try again in a second.")
        self.in_flight += 1
        try:
            yield
        finally:
            self.in_flight -= 1

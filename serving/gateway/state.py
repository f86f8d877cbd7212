"""The parts of one running gateway, shared by its endpoints."""

from dataclasses import dataclass

from serving.gateway.concurrency import ConcurrencyLimiter
from serving.gateway.features import OnlineFeatureClient
from serving.gateway.metrics import GatewayMetrics
from serving.gateway.records import SlottedClock
from serving.gateway.route_cache import RouteCache
from serving.gateway.spool import Spool
from settings import Settings


@dataclass(frozen=True, kw_only=True)
class Gateway:
    """All parts of a running gateway."""

    settings: Settings
    metrics: GatewayMetrics
    spool: Spool
    route_cache: RouteCache
    features: OnlineFeatureClient
    clock: SlottedClock
    limiter: ConcurrencyLimiter

    @property
    def is_ready(self) -> bool:
        """Whether the routes are loaded and the online features have been tried. A spool that cannot be written does
        not count: answers are still sent, and disks that are full everywhere would otherwise stop all gateways.
        """
        return self.route_cache.loaded and self.features.tried

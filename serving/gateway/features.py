"""The online features of the user, agent and cluster of a request, read with a timeout and a circuit breaker.

An answer without features is worse than one with them and far better than none. So a read has a short timeout, and
after several failures in a row no read is tried for some seconds: an unavailable Redis costs a few requests their
timeout, not every one. Redis is read on the event loop; SQLite, which blocks, in a thread.
"""

import asyncio
import gc
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from features.online.feast_repo import open_feature_store
from features.online.reader import OnlineFeatures, OnlineReader
from serving.gateway.metrics import GatewayMetrics
from settings import Settings

log = logging.getLogger("fuelline.gateway")

TIMEOUT_S = 0.1
"""Per read; a read takes about a millisecond."""
MAX_FAILURES = 5
"""Failures in a row after which reads pause."""
PAUSE_S = 5.0
CONCURRENT_READS = 32
"""Limit of reads at the same time; each uses a Redis connection."""

NO_FEATURES = OnlineFeatures()


class OnlineFeatureClient:
    """The online store behind a timeout and a circuit breaker."""

    def __init__(self, settings: Settings, metrics: GatewayMetrics) -> None:
        self._settings, self._metrics = settings, metrics
        self._reader: OnlineReader | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="features")
        self._reads = asyncio.Semaphore(CONCURRENT_READS)
        self._failures, self._paused_until = 0, 0.0
        self.tried = False
        """Whether the store has been tried once, with or without success."""

    async def open(self) -> None:
        """Open the store and read once; this takes seconds. If it fails, a later request tries again."""
        try:
            await self._read("", "", datetime.now(UTC))
        except Exception as error:
            self._paused_until = time.monotonic() + PAUSE_S
            log.warning("answers go without features: the online store cannot be opened (%s)", type(error).__name__)
        gc.collect()
        gc.freeze()  # Feast's 400,000 objects are never freed; a full collection over them stops the process for 0.2 s
        self.tried = True

    async def read(self, user_id: str, agent: str, as_of: datetime) -> OnlineFeatures:
        """The features, or ``NO_FEATURES`` if they do not arrive in time."""
        if time.monotonic() < self._paused_until:
            self._metrics.feature_misses.labels("resting").inc()
            return NO_FEATURES
        if self._failures >= MAX_FAILURES:
            self._paused_until = time.monotonic() + PAUSE_S  # this one read tests the store; the others still pause
        try:
            async with asyncio.timeout(TIMEOUT_S), self._reads:
                features = await self._read(user_id, agent, as_of)
        except Exception as error:  # of Feast, SQLAlchemy, Redis or SQLite: in every case the answer goes without
            self._record_failure(error)
            return NO_FEATURES
        self._failures, self._paused_until = 0, 0.0
        if features.user_event_timestamp is None:
            self._metrics.feature_misses.labels("absent").inc()
        return features

    async def close(self) -> None:
        """Close the store without waiting for reads that hang."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        if self._reader:
            await self._reader.close()

    async def _read(self, user_id: str, agent: str, as_of: datetime) -> OnlineFeatures:
        loop = asyncio.get_running_loop()
        reader = self._reader
        if reader is None:
            reader = await loop.run_in_executor(self._thread, self._open)
        if reader.is_async:
            return await reader.read_async(user_id, agent, as_of, self._settings.cluster)
        return await loop.run_in_executor(self._thread, reader.read, user_id, agent, as_of, self._settings.cluster)

    def _open(self) -> OnlineReader:
        self._reader = self._reader or OnlineReader(open_feature_store(self._settings, answer_s=TIMEOUT_S))
        return self._reader

    def _record_failure(self, error: Exception) -> None:
        self._failures += 1
        self._metrics.feature_misses.labels("timeout" if isinstance(error, TimeoutError) else "error").inc()
        if self._failures == MAX_FAILURES:
            self._paused_until = time.monotonic() + PAUSE_S
            log.warning("answers go without features for %.0f s: %s", PAUSE_S, type(error).__name__)

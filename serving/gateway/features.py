"""What is known of who asks: the online features, read in time or not at all.

An answer without features is worse than one with them and far better than none. So a read has a short timeout, and
after a few failures in a row is not tried for some seconds: a Redis that is down costs a few requests their timeout,
and not every one. Redis is read on the event loop; SQLite, which can only be waited for, in a thread.
"""

import asyncio
import gc
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from features.online.feast_repo import open_feature_store
from features.online.reader import OnlineFeatures, OnlineReader
from serving.gateway.metrics import Metrics
from settings import Settings

log = logging.getLogger("fuelline.gateway")

TIMEOUT_S = 0.1
"""A read takes about a millisecond."""
FAILURES = 5
"""In a row, until reads are given up for a while."""
REST_S = 5.0
READS = 32
"""Under way at once at most; each takes a connection of Redis."""

NOTHING = OnlineFeatures()


class Known:
    """The online store, open, behind a timeout and a circuit breaker."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._settings, self._metrics = settings, metrics
        self._reader: OnlineReader | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="features")
        self._room = asyncio.Semaphore(READS)
        self._failures, self._rests_until = 0, 0.0
        self.settled = False
        """Whether the store was tried once, with or without success."""

    async def open(self) -> None:
        """Open the store and read once; takes seconds. Tried again with a later request where it fails."""
        try:
            await self._read("", "", datetime.now(UTC))
        except Exception as error:
            self._rests_until = time.monotonic() + REST_S
            log.warning("answers go without features: the online store cannot be opened (%s)", type(error).__name__)
        gc.collect()
        gc.freeze()  # Feast's 400,000 objects stay for ever: a full collection over them stops everything for 0.2 s
        self.settled = True

    async def read(self, user_id: str, agent: str, as_of: datetime) -> OnlineFeatures:
        """The values that are there in time; none of them otherwise."""
        if time.monotonic() < self._rests_until:
            self._metrics.feature_misses.labels("resting").inc()
            return NOTHING
        if self._failures >= FAILURES:
            self._rests_until = time.monotonic() + REST_S  # this read asks for all others whether it is over
        try:
            async with asyncio.timeout(TIMEOUT_S), self._room:
                found = await self._read(user_id, agent, as_of)
        except Exception as error:  # of Feast, SQLAlchemy, Redis, SQLite: whatever it is, the answer goes without
            self._failed(error)
            return NOTHING
        self._failures, self._rests_until = 0, 0.0
        if found.user_event_timestamp is None:
            self._metrics.feature_misses.labels("absent").inc()
        return found

    async def close(self) -> None:
        """Wait for no read that hangs."""
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

    def _failed(self, error: Exception) -> None:
        self._failures += 1
        self._metrics.feature_misses.labels("timeout" if isinstance(error, TimeoutError) else "error").inc()
        if self._failures == FAILURES:
            self._rests_until = time.monotonic() + REST_S
            log.warning("answers go without features for %.0f s: %s", REST_S, type(error).__name__)

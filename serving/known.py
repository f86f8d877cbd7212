"""What is known of who asks: the online features, read in time or not at all.

An answer without features is worse than one with them and far better than none. So a read has a short timeout, runs
outside the event loop, and after a few failures in a row is not tried for some seconds: a Redis that is down costs a
few requests their timeout, and not every one.
"""

import asyncio
import gc
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from features.online import OnlineFeatures, read_online
from features.repo import open_feature_store
from serving.metrics import Metrics
from settings import Settings

if TYPE_CHECKING:
    from feast import FeatureStore

log = logging.getLogger("fuelline.gateway")

TIMEOUT_S = 0.1
"""A read takes about a millisecond."""
FAILURES = 5
"""In a row, until reads are given up for a while."""
REST_S = 5.0
THREADS = 4

NOTHING = OnlineFeatures()


class Known:
    """The online store, open, behind a timeout and a circuit breaker."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._settings, self._metrics = settings, metrics
        self._store: FeatureStore | None = None
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="features")
        self._failures, self._rests_until = 0, 0.0
        self.settled = False
        """Whether the store was tried once, with or without success."""

    async def open(self) -> None:
        """Open the store and read once; takes seconds. Tried again with a later request where it fails."""
        try:
            now = datetime.now(UTC)
            await asyncio.get_running_loop().run_in_executor(self._threads, self._read, "", "", now)
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
            reading = asyncio.get_running_loop().run_in_executor(self._threads, self._read, user_id, agent, as_of)
            found = await asyncio.wait_for(reading, TIMEOUT_S)
        except Exception as error:  # of Feast, SQLAlchemy, Redis, SQLite: whatever it is, the answer goes without
            self._failed(error)
            return NOTHING
        self._failures, self._rests_until = 0, 0.0
        if found.user_event_timestamp is None:
            self._metrics.feature_misses.labels("absent").inc()
        return found

    def close(self) -> None:
        """Wait for no read that hangs."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _open(self) -> "FeatureStore":
        self._store = self._store or open_feature_store(self._settings, answer_s=TIMEOUT_S)
        return self._store

    def _read(self, user_id: str, agent: str, as_of: datetime) -> OnlineFeatures:
        return read_online(self._open(), user_id, agent, as_of)

    def _failed(self, error: Exception) -> None:
        self._failures += 1
        self._metrics.feature_misses.labels("timeout" if isinstance(error, TimeoutError) else "error").inc()
        if self._failures == FAILURES:
            self._rests_until = time.monotonic() + REST_S
            log.warning("answers go without features for %.0f s: %s", REST_S, type(error).__name__)

"""A thread that uploads the spool's rows to the store's inbox every few seconds, and goes on after every error."""

import logging
import threading

from lake.sources import inbox
from lake.store.objects import ObjectStore
from lake.store.open import open_store
from serving.gateway.metrics import GatewayMetrics
from serving.gateway.spool import Spool
from settings import Settings

log = logging.getLogger("fuelline.gateway")

SOURCES = ("agents", "predictions", "feedback")
INTERVAL_S = 3.0


class SpoolUploader:
    """The reading side of a spool; ``start`` it once, ``stop`` it once."""

    def __init__(self, spool: Spool, settings: Settings, metrics: GatewayMetrics) -> None:
        self._spool, self._settings, self._metrics = spool, settings, metrics
        self._store: ObjectStore | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="drain", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Upload once more, and end the thread."""
        self._stop.set()
        self._thread.join()

    def upload(self) -> None:
        """Upload all rows that are in the spool now; they stay where the spool or the store raises an error."""
        upto = {source: self._spool.last_number(source) for source in SOURCES}
        while batches := [batch for source in SOURCES if upto[source] and (batch := self._spool.next_batch(source))]:
            self._spool.sync()  # before the upload, and once for all batches: see serving.gateway.spool
            self._store = self._store or open_store(self._settings)
            for batch in batches:
                data = self._spool.lines(batch)
                inbox.put(self._store, batch.source, self._spool.gateway, batch.first, batch.last, data)
            self._spool.mark_uploaded(batches)
            upto |= {batch.source: 0 for batch in batches if batch.last >= upto[batch.source]}

    def _run(self) -> None:
        while not self._stop.wait(INTERVAL_S):
            self._try()
        self._try()

    def _try(self) -> None:
        try:
            if self._spool.error:
                self._spool.test_write()
            self.upload()
            self._metrics.spool_age.set(self._spool.oldest_age_s())
        except Exception as error:  # any: without this thread no row would leave the spool
            self._metrics.drain_failures.inc()
            log.warning("the spool keeps %d rows: %s", self._spool.depth, error)

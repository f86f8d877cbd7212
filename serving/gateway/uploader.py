"""The drain: a thread that brings the spool's rows to the store's inbox every few seconds, and waits out its faults."""

import logging
import threading

from lake.sources import inbox
from lake.store.objects import ObjectStore, open_store
from serving.gateway.metrics import Metrics
from serving.gateway.spool import Spool
from settings import Settings

log = logging.getLogger("fuelline.gateway")

SOURCES = ("agents", "predictions", "feedback")
EVERY_S = 3.0


class Drain:
    """Owns the reading side of a spool; ``start`` it once, ``stop`` it once."""

    def __init__(self, spool: Spool, settings: Settings, metrics: Metrics) -> None:
        self._spool, self._settings, self._metrics = spool, settings, metrics
        self._store: ObjectStore | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="drain", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Drain once more and end."""
        self._stop.set()
        self._thread.join()

    def drain(self) -> None:
        """Bring everything that is there now to the inbox.

        Raises:
            FuellineError: the store cannot be reached; the rows stay.
            sqlite3.Error: the spool cannot be read or written.
        """
        upto = {source: self._spool.newest(source) for source in SOURCES}
        while batches := [batch for source in SOURCES if upto[source] and (batch := self._spool.fix(source))]:
            self._spool.sync()  # before the upload, and of all at once: see serving.gateway.spool
            self._store = self._store or open_store(self._settings)
            for batch in batches:
                data = self._spool.lines(batch)
                inbox.put(self._store, batch.source, self._spool.gateway, batch.first, batch.last, data)
            self._spool.settle(batches)
            upto |= {batch.source: 0 for batch in batches if batch.last >= upto[batch.source]}

    def _run(self) -> None:
        while not self._stop.wait(EVERY_S):
            self._try()
        self._try()

    def _try(self) -> None:
        try:
            if self._spool.fault:
                self._spool.probe()
            self.drain()
            self._metrics.spool_age.set(self._spool.oldest_s())
        except Exception as error:  # this thread is the rows' only way out
            self._metrics.drain_failures.inc()
            log.warning("the spool keeps %d rows: %s", self._spool.depth, error)

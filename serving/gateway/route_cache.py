"""The routes and keys in force: a thread reads both every second and keeps the last ones that could be read.

A gateway that cannot reach the store goes on with its last routes, and counts the failed reads. Failures are kept
apart: a removed key takes effect without the store, and one model's roll-back without the other models.
"""

import logging
import threading
import time
from pathlib import Path

from errors import PeerError
from lake.lake import Lake, open_lake
from models.prompt import PROMPT_VERSION
from models.registry.kinds import model_names
from serving.gateway.auth import ApiKeys, read_keys
from serving.gateway.metrics import GatewayMetrics
from serving.routing.routes import Route, route_of
from settings import Settings

log = logging.getLogger("fuelline.gateway")

LIST_INTERVAL_S = 30.0
"""Seconds between two searches for new models: listing every entry of the ledger is too slow for every second."""
REFRESH_INTERVAL_S = 1.0
STORE_TIMEOUT_S = 2.0
"""Per request to the store, which is not repeated, so that a roll-back is in force within five seconds."""


class RouteCache:
    """The routes and keys as last read."""

    routes: dict[str, Route]
    """By model; empty until the ledger has been read once."""
    loaded: bool
    """Whether all routes have been read once. With only some of them, the agents of a missing model would be answered
    by the model for all agents."""
    keys: ApiKeys | None
    """None: no key is required."""

    def __init__(self, settings: Settings, metrics: GatewayMetrics) -> None:
        """Read the keys; the thread reads the ledger. Raises ``SettingsError`` if the key file cannot be read."""
        self.routes, self.loaded = {}, False
        self._settings, self._metrics = settings, metrics
        self._key_file = Path(settings.keys) if settings.keys else None
        self._key_file_version: tuple[int, int] | None = (0, 0)  # of no file, so it is read now and must exist
        self.keys = None
        self._read_keys()
        self._lake: Lake | None = None
        self._models: list[str] = []
        self._next_list_at = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="routes", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread and wait for its end."""
        self._stop.set()
        self._thread.join()

    def refresh(self) -> None:
        """Read keys and routes once; keep the last ones where that fails."""
        failed = False
        for read, what in ((self._read_keys, "keys"), (self._read_routes, "routes")):
            try:
                read()
            except Exception as error:  # any error of a store or another release: the next read may succeed
                failed = True
                log.warning("the last %s stay in force: %s", what, error)
        self._metrics.route_reads.labels("failed" if failed else "read").inc()

    def _run(self) -> None:
        self.refresh()
        while not self._stop.wait(REFRESH_INTERVAL_S):
            self.refresh()

    def _read_routes(self) -> None:
        """Read each model's route independently; one that cannot be read stays. Raises the last error at the end."""
        lake = self._lake = self._lake or open_lake(self._settings, timeout_s=STORE_TIMEOUT_S)
        routes, failure = dict(self.routes), None
        try:
            if time.monotonic() >= self._next_list_at:
                self._models, self._next_list_at = model_names(lake.ledger), time.monotonic() + LIST_INTERVAL_S
        except Exception as error:  # the known models are still read
            failure = error
        for name in self._models:
            try:
                routes[name] = route_of(lake, name, self.routes.get(name))
            except PeerError as error:
                failure = error
                break  # the store does not answer, and each further read might wait as long
            except Exception as error:
                failure = error
        if self.loaded or (not isinstance(failure, PeerError) and (routes or not failure)):
            self._publish(routes)
        if failure:
            raise failure

    def _publish(self, routes: dict[str, Route]) -> None:
        if self.loaded and routes == self.routes:
            return
        for name, route in routes.items():
            self._metrics.share.labels(name).set(route.share)
            log.info("%s: %s", name, ", ".join(version.adapter_name for version in route.adapters) or "base")
            if route.prompt_version not in ("", PROMPT_VERSION):
                log.warning("%s: trained on prompt %s, rendered with %s", name, route.prompt_version, PROMPT_VERSION)
        self.routes, self.loaded = routes, True
        self._metrics.route_changes.inc()

    def _read_keys(self) -> None:
        """Read the key file if it has changed: a removed key is refused a second later."""
        if self._key_file and (version := _file_version(self._key_file)) != self._key_file_version:
            self.keys = read_keys(self._key_file)
            self._key_file_version = version


def _file_version(path: Path) -> tuple[int, int] | None:
    """Modification time in ns and inode of a file; None where it does not exist."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino

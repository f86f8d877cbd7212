"""Following the ledger: a thread that reads the keys and the routes every second, and keeps the last ones it has seen.

A gateway that cannot reach the store goes on as it was told last; that it was not told anything new is counted. What
fails is that alone: a key that is taken out waits for no store, and a model's roll-back for no other model.
"""

import logging
import threading
import time
from pathlib import Path

from errors import PeerError
from lake.lake import Lake, open_lake
from models.prompt import PROMPT_VERSION
from serving.gateway.auth import Keys, read_keys
from serving.gateway.metrics import Metrics
from serving.routing.routes import Route, read_models, route_of
from settings import Settings

log = logging.getLogger("fuelline.gateway")

LIST_S = 30.0
"""Seconds between two looks for models that are new."""
EVERY_S = 1.0
ANSWER_S = 2.0
"""How long the store may take to answer; it is not asked twice, so that a roll-back is in force within five seconds."""


class Following:
    """The routes and keys as of about now."""

    routes: dict[str, Route]
    """By model; empty until the ledger was read once."""
    known: bool
    """Whether it was, whole: by some of the routes, agents of the others would be answered by the model for all."""
    keys: Keys | None
    """None: no key is asked for."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        """Read the keys; the ledger is read by the thread.

        Raises:
            SettingsError: the file of the keys cannot be read.
        """
        self.routes, self.known = {}, False
        self._settings, self._metrics = settings, metrics
        self._key_file = Path(settings.keys) if settings.keys else None
        self._key_state: tuple[int, int] | None = None
        self.keys = None
        if self._key_file:
            self._key_state = _state(self._key_file)
            self.keys = read_keys(self._key_file)
        self._lake: Lake | None = None
        self._models: list[str] = []
        self._lists_at = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="routes", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._stop.set()
        self._thread.join()

    def look(self) -> None:
        """Read keys and routes once; keep the last ones where that fails."""
        failed = False
        for read, what in ((self._read_keys, "keys"), (self._read_routes, "routes")):
            try:
                read()
            except Exception as error:  # whatever a store or another release writes: the next look may succeed
                failed = True
                log.warning("the last %s stay in force: %s", what, error)
        self._metrics.route_reads.labels("failed" if failed else "read").inc()

    def _run(self) -> None:
        self.look()
        while not self._stop.wait(EVERY_S):
            self.look()

    def _read_routes(self) -> None:
        """Take each model's route by itself; one that cannot be read stays. Raises the last error, when all is done."""
        lake = self._lake = self._lake or open_lake(self._settings, answer_s=ANSWER_S)
        routes, fault = dict(self.routes), self._list(lake)
        for name in self._models:
            try:
                routes[name] = route_of(lake, name, self.routes.get(name))
            except PeerError as error:
                fault = error
                break  # the store is away, and each further try might take as long
            except Exception as error:
                fault = error
        away = isinstance(fault, PeerError)
        if self.known or (not away and (routes or not fault)):
            self._take(routes)
        if fault:
            raise fault

    def _list(self, lake: Lake) -> Exception | None:
        """Look for new models where it is time; what kept it from that: the known ones do not wait for the list."""
        if time.monotonic() < self._lists_at:
            return None
        try:
            self._models, self._lists_at = read_models(lake), time.monotonic() + LIST_S
        except Exception as error:
            return error
        return None

    def _take(self, routes: dict[str, Route]) -> None:
        if self.known and routes == self.routes:
            return
        for name, route in routes.items():
            self._metrics.share.labels(name).set(route.share)
            log.info("%s: %s", name, ", ".join(version.adapter_name for version in route.adapters) or "base")
            if route.prompt_version not in ("", PROMPT_VERSION):
                log.warning("%s: trained on prompt %s, rendered with %s", name, route.prompt_version, PROMPT_VERSION)
        self.routes, self.known = routes, True
        self._metrics.route_changes.inc()

    def _read_keys(self) -> None:
        """Take a file of keys that has changed: a key that was taken out is refused a second later."""
        if self._key_file and (state := _state(self._key_file)) != self._key_state:
            self.keys = read_keys(self._key_file)
            self._key_state = state


def _state(path: Path) -> tuple[int, int] | None:
    """What changes when a file does; None where it is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino

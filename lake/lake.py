"""A lake: its object store, ledger, leases and tables, opened from the settings or by name."""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from errors import UserError
from lake.store.leases import Leases
from lake.store.ledger import Ledger, utc_now
from lake.store.names import lake_names, require_lake
from lake.store.objects import ObjectStore
from lake.store.open import open_store
from lake.tables.tables import Tables
from settings import Settings, read_settings
from settings import settings as process_settings


@dataclass(frozen=True)
class Lake:
    """Access to all of a lake's data. Cheap to open; not to be shared between threads."""

    settings: Settings
    store: ObjectStore
    ledger: Ledger
    leases: Leases
    tables: Tables

    def under(self, chain: str, fence: int) -> "Lake":
        """The same lake for the holder of a chain's lease: entries that it writes there carry the fencing number."""
        return replace(self, ledger=Ledger(self.store, self.ledger.clock, {**self.ledger.fences, chain: fence}))


def open_lake(
    settings: Settings | None = None, *, clock: Callable[[], datetime] = utc_now, timeout_s: float | None = None
) -> Lake:
    """Open the lake that the settings name, by default those of this process; missing embedded parts are created.

    ``clock`` is that of ledger and leases; ``timeout_s`` is as for ``open_store``. Raises ``SettingsError`` where a
    setting names a place that does not exist.
    """
    chosen = settings or process_settings()
    store = open_store(chosen, timeout_s)
    return Lake(chosen, store, Ledger(store, clock), Leases(store, clock), Tables(chosen, store))


def open_named(name: str | None) -> Lake:
    """The lake with this name; without a name, that of ``FUELLINE_LAKE`` or the only one there is. Creates nothing.

    Raises ``UnknownName`` where no lake has this name, ``UserError`` where there is none, or several and none is named.
    """
    settings = read_settings(**({"lake": name} if name else {}))
    if not settings.store and not name and not os.environ.get("FUELLINE_LAKE"):
        known = lake_names(settings)
        if not known:
            raise UserError(f"there is no lake in {settings.home} yet; `make run` creates one")
        if len(known) > 1:
            raise UserError(f"there are several lakes: {', '.join(known)}; choose one with --lake")
        settings = read_settings(lake=known[0])
    require_lake(settings)
    return open_lake(settings)


def open_lakes(name: str | None) -> list[Lake]:
    """The lake that is named, by ``name`` or by the environment; else all."""
    if name or os.environ.get("FUELLINE_LAKE") or os.environ.get("FUELLINE_STORE"):
        return [open_named(name)]
    return [open_named(lake) for lake in lake_names(read_settings())] or [open_named(None)]

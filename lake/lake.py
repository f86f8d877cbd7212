"""One lake: its store, ledger, leases and tables, opened from the settings or by its name."""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from errors import UnknownName, UserError
from lake.store.leases import Leases
from lake.store.ledger import Ledger, utc_now
from lake.store.objects import ObjectStore, open_store
from lake.tables.tables import Tables
from settings import Settings, read_settings
from settings import settings as process_settings


@dataclass(frozen=True)
class Lake:
    """Everything that knows where data stand. Cheap to open; open one a thread."""

    settings: Settings
    store: ObjectStore
    ledger: Ledger
    leases: Leases
    tables: Tables

    def under(self, chain: str, fence: int) -> "Lake":
        """The same lake for the holder of a chain's lease: what it writes there carries the lease's number."""
        return replace(self, ledger=Ledger(self.store, self.ledger.clock, {**self.ledger.fences, chain: fence}))


def open_lake(
    settings: Settings | None = None, *, clock: Callable[[], datetime] = utc_now, answer_s: float | None = None
) -> Lake:
    """Open the lake that the settings name; what is missing of its embedded parts is made.

    Where ``answer_s`` is given, the object store has that many seconds to answer, and is not asked twice.

    Raises:
        SettingsError: a setting points nowhere.
    """
    chosen = settings or process_settings()
    store = open_store(chosen, answer_s)
    return Lake(
        settings=chosen,
        store=store,
        ledger=Ledger(store, clock),
        leases=Leases(store, clock),
        tables=Tables(chosen, store),
    )


def open_named(name: str | None) -> Lake:
    """The lake of this name, or the one that is meant where none is named. Nothing is made."""
    settings = read_settings(**({"lake": name} if name else {}))
    known = lake_names()
    if settings.store:
        return open_lake(settings)
    if not known:
        raise UserError(f"there is no lake in {settings.home} yet; `make run` makes one")
    if name or os.environ.get("FUELLINE_LAKE"):
        if settings.lake not in known:
            raise UnknownName("lake", settings.lake, known)
        return open_lake(settings)
    if len(known) > 1:
        raise UserError(f"there are several lakes: {', '.join(known)}; choose one with --lake")
    return open_lake(read_settings(lake=known[0]))


def open_every(name: str | None) -> list[Lake]:
    """The lake that is named, or every one."""
    if name or os.environ.get("FUELLINE_LAKE") or os.environ.get("FUELLINE_STORE"):
        return [open_named(name)]
    return [open_named(one) for one in lake_names()] or [open_named(None)]


def lake_names() -> list[str]:
    """Names of the embedded lakes; a folder with a catalogue or a ledger is one."""
    home = read_settings().home
    folders = sorted(home.iterdir()) if home.is_dir() else []
    return [folder.name for folder in folders if (folder / "catalog.db").exists() or (folder / "objects").is_dir()]

"""One lake: its store, ledger, leases and tables, opened from the settings."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from lake.store.leases import Leases
from lake.store.ledger import Ledger, utc_now
from lake.store.objects import ObjectStore, open_store
from lake.tables.tables import Tables
from settings import Settings
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

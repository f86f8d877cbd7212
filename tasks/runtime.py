"""What tasks share: the lake, progress on the terminal, windows of schedules, and decks.

A deck is shown in the Flyte console and stored in the object store, so that one report can hold all decks of a run.
"""

import functools
import logging
import os
import sys
from collections.abc import Callable
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from flytekit import Deck, current_context

from errors import SettingsError
from lake.health import require_ready
from lake.lake import Lake, open_lake
from lake.windows import Window, catch_up
from models.registry.training_lease import LEASE_S
from settings import example, settings

log = logging.getLogger("fuelline.tasks")

started_as: ContextVar[str] = ContextVar("started_as", default="")
"""The name by which this process was started on a laptop, so that its lease is found by that name."""

T = TypeVar("T")


def task_lake(*uses: str) -> Lake:
    """The lake of this process's settings. Also logs progress to standard error.

    ``uses`` are settings of other services that the task needs, such as ``online``. Raises SettingsError where a
    setting is missing or wrong, PeerError where a service does not answer.
    """
    show_progress()
    if on_cluster():
        if not settings().store:
            raise SettingsError(
                "FUELLINE_STORE is not set, so every pod would have its own lake. Set it at registration. "
                f"Example: {example('store')}"
            )
        if not settings().catalog:
            raise SettingsError(
                "FUELLINE_CATALOG is not set, so every pod would have its own catalogue. Put it into the secret "
                f"'fuelline' of this namespace. Example: {example('catalog')}"
            )
    opened = open_lake()  # checks the store
    require_ready(opened.settings, "catalog", *uses)
    return opened


def show_progress() -> None:
    """Write the ``fuelline`` loggers to standard error; once per process."""
    root = logging.getLogger("fuelline")
    if not root.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s  %(message)s", datefmt="%H:%M:%S"))
        root.addHandler(handler)
        root.setLevel(logging.INFO)
        root.propagate = False


def execution() -> str:
    """This run's name: the Flyte execution on a cluster; on a laptop that of its start, or one name per process."""
    return current_context().execution_id.name if on_cluster() else started_as.get() or _local_run()


def lease_s() -> float:
    """How long a run keeps its lease between two stages (seconds): a pod waits for a GPU for six hours at most."""
    return 6 * 3600.0 if on_cluster() else LEASE_S


def on_cluster() -> bool:
    """Whether this process runs a task of a Flyte cluster, not of ``pyflyte run`` or a test."""
    identifier = current_context().execution_id
    return bool(identifier and identifier.name and identifier.name != "local")


@functools.lru_cache(maxsize=1)
def _local_run() -> str:
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{os.getpid()}"


def due(
    lake: Lake, schedule: str, kickoff: datetime, every_minutes: int, deck: tuple[int, str], work: Callable[[Window], T]
) -> list[T]:
    """Do the due windows of a schedule as this run (``lake.windows.catch_up``); where none is due, the deck says so."""
    done = catch_up(lake, schedule, work, kickoff=kickoff, period=timedelta(minutes=every_minutes), run=execution())
    if not done:
        from reports.common.html import note

        reason = "an earlier run has done this work, or another run is doing it now"
        log.info("%s: nothing due at %s; %s", schedule, kickoff.isoformat(timespec="seconds"), reason)
        publish(*deck, note(f"Nothing is due: {reason}."))
    return done


def publish(order: int, name: str, *parts: str) -> None:
    """Show a deck in the console and store it for the run's report, at the place ``order``."""
    from reports.common.html import deck
    from reports.run_report import save_section

    html = deck(*parts)
    Deck(name, html)
    save_section(open_lake().store, execution(), order, name, html)


def show_lineage(picture: str) -> None:
    """Show the lineage of this run in the console; the report draws its own."""
    from reports.common.html import deck

    Deck("Lineage", deck(picture))

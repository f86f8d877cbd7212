"""What every task needs of its surroundings: the lake, progress on the terminal, and a deck that is also kept.

A deck is shown in the Flyte console and kept in the object store, so that one report can hold all decks of a run.
"""

import functools
import logging
import os
import sys
from collections.abc import Callable
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

QUEUE_S = 6 * 3600.0

T = TypeVar("T")


def lake(*uses: str) -> Lake:
    """The lake that this process's settings name. Also turns on progress, which a library must not.

    Args:
        uses: settings of the services beside store and catalogue that the task needs, such as ``online``: a task that
            cannot end well does not begin.

    Raises:
        SettingsError: a setting is missing or wrong.
        PeerError: a service does not answer.
    """
    show_progress()
    if on_cluster():
        _require_shared_places()
    opened = open_lake()  # which asks the store
    require_ready(opened.settings, "catalog", *uses)
    return opened


def _require_shared_places() -> None:
    if not settings().store:
        raise SettingsError(
            "FUELLINE_STORE is not set, so every pod would have a lake of its own. Give it at registration. "
            f"Example: {example('store')}"
        )
    if not settings().catalog:
        raise SettingsError(
            "FUELLINE_CATALOG is not set, so every pod would have a catalogue of its own. Put it into the secret "
            f"'fuelline' of this namespace. Example: {example('catalog')}"
        )


def show_progress() -> None:
    """Let the ``fuelline`` loggers speak on standard error, once a process."""
    root = logging.getLogger("fuelline")
    if not root.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s  %(message)s", datefmt="%H:%M:%S"))
        root.addHandler(handler)
        root.setLevel(logging.INFO)
        root.propagate = False


def execution() -> str:
    """This run's name: Flyte's own on a cluster, one a process on a laptop."""
    return current_context().execution_id.name if on_cluster() else _local_run()


def patience_s() -> float:
    """How long a run keeps its claim between two stages: on a cluster a pod may have to wait for a GPU."""
    return QUEUE_S if on_cluster() else LEASE_S


def on_cluster() -> bool:
    """Whether this process runs a task for a Flyte cluster, and not for ``pyflyte run`` or a test."""
    named = current_context().execution_id
    return bool(named and named.name and named.name != "local")


@functools.lru_cache(maxsize=1)
def _local_run() -> str:
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{os.getpid()}"


def due(here: Lake, schedule: str, work: Callable[[Window], T], *, kickoff: datetime, every_minutes: int) -> list[T]:
    """Do a schedule's work by windows, as this run: see ``lake.windows.catch_up``. Empty where nothing was due."""
    done = catch_up(here, schedule, work, kickoff=kickoff, period=timedelta(minutes=every_minutes), run=execution())
    if not done:
        log.info(
            "%s: nothing due at %s; an earlier run has done it, or is at it",
            schedule,
            kickoff.isoformat(timespec="seconds"),
        )
    return done


def publish(order: int, name: str, *parts: str) -> None:
    """Show a deck in the console and keep it for the run's report; ``order`` is its place there."""
    from reports.common.html import deck
    from reports.run_report import save_section

    html = deck(*parts)
    Deck(name, html)
    save_section(open_lake().store, execution(), order, name, html)


def publish_nothing_due(order: int, name: str) -> None:
    """Publish a deck that says why this run has nothing to show."""
    from reports.common.html import note

    publish(order, name, note("An earlier run has done this work, or another run is doing it now."))


def show_lineage(picture: str) -> None:
    """Show the lineage of this very run in the console; the report draws its own."""
    from reports.common.html import deck

    Deck("Lineage", deck(picture))

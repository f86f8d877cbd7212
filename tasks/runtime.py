"""What every task needs of its surroundings: the lake, progress on the terminal, and a deck that is also kept.

A deck is shown in the Flyte console and kept in the object store, so that one report can hold all decks of a run.
"""

import functools
import logging
import os
import sys
from datetime import UTC, datetime

from flytekit import Deck, current_context

from errors import SettingsError
from lake.lake import Lake, open_lake
from models.claims import LEASE_S
from settings import settings

log = logging.getLogger("fuelline.tasks")

QUEUE_S = 6 * 3600.0


def lake() -> Lake:
    """The lake that this process's settings name. Also turns on progress, which a library must not."""
    show_progress()
    if on_cluster() and not settings().store:
        raise SettingsError(
            "FUELLINE_STORE is not set, so every pod would have a lake of its own. Register with "
            "--env FUELLINE_STORE=s3://bucket/prefix, and FUELLINE_CATALOG beside it"
        )
    return open_lake()


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


def publish(order: int, name: str, *parts: str) -> None:
    """Show a deck in the console and keep it for the run's report; ``order`` is its place there."""
    from lake.charts import deck
    from lake.report import save_section

    html = deck(*parts)
    Deck(name, html)
    save_section(open_lake().store, execution(), order, name, html)


def show_lineage(picture: str) -> None:
    """Show the lineage of this very run in the console; the report draws its own."""
    from lake.charts import deck

    Deck("Lineage", deck(picture))

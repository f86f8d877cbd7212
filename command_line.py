"""What every command has in common: help, errors, exit codes, logging, and the types of options that several have.

``cli`` holds the tree of commands. A process that manifests start by its module (``python -m serving.gateway``) is
defined as a command in its own package (``serving/commands.py``), since nothing below ``cli`` imports it: ``cli``
mounts the command, and the module that is started calls it. So its options are declared once. Both need this module,
which therefore stands below every package, beside ``errors``, and imports neither settings nor anything heavy.

Exit codes: 0 fine; 1 the request cannot be met, the message says why; 2 wrong usage; 3 something stored is not what was
written.
"""

import logging
import math
import os
import signal
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from errors import FuellineError, IntegrityError

if TYPE_CHECKING:
    from settings import Settings

F = TypeVar("F", bound=Callable[..., Any])
UNMET, BROKEN = 1, 3
"""Exit codes; 0 and 2 are click's own."""
STYLE = {"help_option_names": ["-h", "--help"], "max_content_width": 100, "show_default": True}


class Command(click.Command):
    """A command whose deliberate errors end in one line on standard error and a code that says their kind."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.context_settings = {**STYLE, **self.context_settings}

    def invoke(self, ctx: click.Context) -> Any:
        """Run it.

        Raises:
            FuellineError: with ``--debug`` or ``FUELLINE_DEBUG``, for the traceback.
        """
        try:
            return super().invoke(ctx)
        except FuellineError as error:
            if ctx.find_root().params.get("debug") or os.environ.get("FUELLINE_DEBUG"):
                raise
            click.echo(f"fuelline: {error}", err=True)
            ctx.exit(BROKEN if isinstance(error, IntegrityError) else UNMET)


class Seconds(click.ParamType[float]):
    """A pause between two rounds: above zero, and no longer than a thread can wait."""

    name = "seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number of seconds; refuses what is no number, and ``nan``."""
        try:
            seconds = float(value)
        except ValueError:
            seconds = math.nan
        if not 0 < seconds <= threading.TIMEOUT_MAX:
            self.fail(f"{value} is no pause; give seconds above zero, for example 2", param, ctx)
        return seconds


def options(*added: Callable[[F], F]) -> Callable[[F], F]:
    """Options that several commands have, as one decorator; help shows them in this order."""

    def decorate(command: F) -> F:
        for option in reversed(added):
            command = option(command)
        return command

    return decorate


def settings_of(lake: str | None) -> "Settings":
    """The settings of the environment; ``--lake`` wins over ``FUELLINE_LAKE``.

    Raises:
        SettingsError: a setting is malformed.
    """
    from settings import read_settings

    return read_settings(**({"lake": lake} if lake else {}))


def log_progress(*others: str) -> None:
    """Show what Fuelline, and the libraries ``others``, log of their progress; of all else only warnings."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s  %(levelname)s  %(message)s", datefmt="%H:%M:%S")
    for name in ("fuelline", *others):
        logging.getLogger(name).setLevel(logging.INFO)


def stop_event() -> threading.Event:
    """An event that SIGTERM and Ctrl-C set, for a process that ends in good order."""
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    return stopped

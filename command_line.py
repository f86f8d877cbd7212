"""What all commands share: style of help, errors, exit codes, logging, and types of options.

``cli`` holds the tree of commands. A process that manifests start as a module (``python -m serving.gateway``) is
declared as a command in its own package (``serving/commands.py``), because nothing below ``cli`` may import ``cli``:
``cli`` adds that command to the tree, and the module that is started calls it, so its options are declared once. Both
need this module. It therefore stands below every package, beside ``errors``, and imports neither the settings nor
anything slow.

Exit codes: 0 success; 1 the request cannot be met, and the message says why; 2 wrong usage; 3 stored data differ from
what was written.
"""

import logging
import math
import os
import signal
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import click

from errors import FuellineError, IntegrityError

F = TypeVar("F", bound=Callable[..., Any])
UNMET, BROKEN = 1, 3
"""Exit codes; 0 and 2 are click's own."""
STYLE = {"help_option_names": ["-h", "--help"], "max_content_width": 100, "show_default": True}


class Broken(click.ClickException):
    """Stored data differ from what was written."""

    exit_code = BROKEN


class Command(click.Command):
    """A command that reports a ``FuellineError`` in one line, as click reports a wrong usage, with its exit code."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.context_settings = {**STYLE, **self.context_settings}

    def invoke(self, ctx: click.Context) -> Any:
        """Run it; with ``--debug`` or ``FUELLINE_DEBUG`` the error itself is raised, for its traceback."""
        try:
            return super().invoke(ctx)
        except FuellineError as error:
            if ctx.find_root().params.get("debug") or os.environ.get("FUELLINE_DEBUG"):
                raise
            kind = Broken if isinstance(error, IntegrityError) else click.ClickException
            raise kind(str(error)) from error


class Seconds(click.ParamType[float]):
    """A time to wait: above zero, and no longer than a thread can wait."""

    name = "seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Parse it; ``nan`` is refused."""
        try:
            seconds = float(value)
        except ValueError:
            seconds = math.nan
        if not 0 < seconds <= threading.TIMEOUT_MAX:
            self.fail(f"{value!r} is not a number of seconds above zero, for example 2", param, ctx)
        return seconds


def options(*added: Callable[[F], F]) -> Callable[[F], F]:
    """Combine options that several commands have into one decorator; help lists them in this order."""

    def decorate(command: F) -> F:
        for option in reversed(added):
            command = option(command)
        return command

    return decorate


def log_progress(*others: str) -> None:
    """Log the progress of Fuelline and of the loggers ``others`` to standard error; of the rest, only warnings."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s  %(levelname)s  %(message)s", datefmt="%H:%M:%S")
    for name in ("fuelline", *others):
        logging.getLogger(name).setLevel(logging.INFO)


def stop_event() -> threading.Event:
    """Return an event that SIGTERM and Ctrl-C set, so that a process can finish its work first."""
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    return stopped

"""What the commands that consume from the broker share: how they are told to end, and how they say how they ended."""

import argparse
import logging
import signal
from collections.abc import Callable, Sequence

from errors import FuellineError
from lake.sources.broker import Until

log = logging.getLogger("fuelline.consuming")


def parser(module: str, description: str) -> argparse.ArgumentParser:
    """The options of ``python -m module`` that say when it ends."""
    made = argparse.ArgumentParser(prog=f"python -m {module}", description=description)
    made.add_argument("--minutes", type=float, help="stop after so long (default: never)")
    made.add_argument("--until-empty", action="store_true", help="stop once the queue is empty")
    return made


def run(
    options: argparse.ArgumentParser,
    arguments: Sequence[str] | None,
    work: Callable[[argparse.Namespace, Until], int],
    done: str,
) -> int:
    """Work until it is time, the queue is empty or SIGTERM comes; 0 when it ended as asked, 1 on an error that is told.

    Args:
        options: made by ``parser``.
        arguments: the command line; None: this process's own.
        work: returns how many messages were acknowledged.
        done: what those messages are by then, for example ``counted``.
    """
    asked = options.parse_args(arguments)
    logging.basicConfig(format="%(asctime)s  %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("fuelline").setLevel(logging.INFO)
    until = Until(seconds=asked.minutes and asked.minutes * 60, empty=asked.until_empty)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: until.asked.set())
    try:
        acknowledged = work(asked, until)
    except FuellineError as error:
        log.error("%s", error)
        return 1
    log.info("%d messages are %s and acknowledged", acknowledged, done)
    return 0

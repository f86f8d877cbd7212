"""The steward: steps every open rollout again and again, so that harm is answered within a minute and not at the next
scheduled step. A look is a commit of what the gateways have left, so it is not taken more often than that.

It runs what the scheduled ``rollout_step`` runs, keeps nothing, and may be started twice or not at all: the ledger
hears one. What fails is said once and tried again.
"""

import argparse
import logging
import signal
import sys
import threading
from collections.abc import Sequence

from errors import FuellineError
from lake.lake import Lake, open_lake
from models.types import Verdict
from serving.options import seconds
from serving.rollout.rollout import advance, open_rollouts

log = logging.getLogger("fuelline.steward")


def attempt_all(lake: Lake) -> dict[str, Verdict | Exception]:
    """Step every open rollout once; what each came to, or the error that kept it, by version."""
    found: dict[str, Verdict | Exception] = {}
    for name in open_rollouts(lake):
        try:
            found[name] = advance(lake, name)
        except Exception as error:  # one model's trouble is not to leave the others alone
            found[name] = error
    return found


def step_all(lake: Lake) -> dict[str, str]:
    """As ``attempt_all``, in words."""
    return {name: _told(one) for name, one in attempt_all(lake).items()}


def watch(lake: Lake, every_s: float, stop: threading.Event) -> None:
    """Step until told to stop; say what changed."""
    before: dict[str, str] = {}
    while not stop.is_set():
        try:
            told = step_all(lake)
        except Exception as error:
            told = {"": _told(error)}
        for name, line in told.items():
            if before.get(name) != line:
                log.info("%s: %s", name or "lake", line)
        before = told
        stop.wait(every_s)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or Ctrl-C; 1 where the lake cannot be opened, or a step of ``--once`` failed."""
    parser = argparse.ArgumentParser(prog="python -m serving.steward", description=__doc__)
    parser.add_argument("--every", type=seconds, default=30.0, metavar="SECONDS", help="between two looks (30)")
    parser.add_argument("--once", action="store_true", help="step once, print it, and end; with 1 if any failed")
    asked = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s  %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("fuelline").setLevel(logging.INFO)
    try:
        lake = open_lake()
        if asked.once:
            return _once(lake)
    except FuellineError as error:
        sys.stderr.write(f"steward: {error}\n")
        return 1
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    watch(lake, asked.every, stop)
    return 0


def _once(lake: Lake) -> int:
    found = attempt_all(lake)
    for name, one in found.items():
        sys.stdout.write(f"{name}: {_told(one)}\n")
    return 1 if any(isinstance(one, Exception) for one in found.values()) else 0


def _told(found: Verdict | Exception) -> str:
    if isinstance(found, Exception):
        return f"{type(found).__name__}: {found}"
    return f"{found.outcome.value}. {found.reason}"

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
from serving.rollout import advance, open_rollouts

log = logging.getLogger("fuelline.steward")


def step_all(lake: Lake) -> dict[str, str]:
    """Step every open rollout once; what each came to, or the error that kept it, by version."""
    told = {}
    for name in open_rollouts(lake):
        try:
            verdict = advance(lake, name)
            told[name] = f"{verdict.outcome.value}. {verdict.reason}"
        except Exception as error:  # one model's trouble is not to leave the others alone
            told[name] = f"{type(error).__name__}: {error}"
    return told


def watch(lake: Lake, every_s: float, stop: threading.Event) -> None:
    """Step until told to stop; say what changed."""
    before: dict[str, str] = {}
    while not stop.is_set():
        try:
            told = step_all(lake)
        except Exception as error:
            told = {"": f"{type(error).__name__}: {error}"}
        for name, line in told.items():
            if before.get(name) != line:
                log.info("%s: %s", name or "lake", line)
        before = told
        stop.wait(every_s)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or Ctrl-C; 1 where the lake cannot be opened."""
    parser = argparse.ArgumentParser(prog="python -m serving.steward", description=__doc__)
    parser.add_argument("--every", type=float, default=30.0, metavar="SECONDS", help="between two looks (30)")
    parser.add_argument("--once", action="store_true", help="step once, print what came of it, and end")
    asked = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s  %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("fuelline").setLevel(logging.INFO)
    try:
        lake = open_lake()
        if asked.once:
            for name, line in step_all(lake).items():
                sys.stdout.write(f"{name}: {line}\n")
            return 0
    except FuellineError as error:
        sys.stderr.write(f"steward: {error}\n")
        return 1
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    watch(lake, asked.every, stop)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The rollout controller: steps every open rollout again and again, so that harm is answered within a minute and not at
the next scheduled step. Each step commits what the gateways have left, so it is not taken more often than that.

It runs what the scheduled ``rollout_step`` runs, keeps no state, and may run twice or not at all: the ledger keeps one
entry for each step. An error is logged once and the step is tried again.
"""

import logging
import threading

from lake.lake import Lake
from models.types import Verdict
from serving.rollout.rollout import advance, open_rollouts

log = logging.getLogger("fuelline.rollout_controller")


def advance_all(lake: Lake) -> dict[str, Verdict | Exception]:
    """Step every open rollout once; the verdict, or the error of the step, by version."""
    results: dict[str, Verdict | Exception] = {}
    for name in open_rollouts(lake):
        try:
            results[name] = advance(lake, name)
        except Exception as error:  # an error of one model does not stop the others
            results[name] = error
    return results


def run(lake: Lake, every_s: float, stop: threading.Event) -> None:
    """Step until stopped; log what has changed since the round before."""
    before: dict[str, str] = {}
    while not stop.is_set():
        try:
            lines = {name: describe(result) for name, result in advance_all(lake).items()}
        except Exception as error:
            lines = {"": describe(error)}
        for name, line in lines.items():
            if before.get(name) != line:
                log.info("%s: %s", name or "lake", line)
        before = lines
        stop.wait(every_s)


def describe(result: Verdict | Exception) -> str:
    """The result of one step in a line."""
    if isinstance(result, Exception):
        return f"{type(result).__name__}: {result}"
    return f"{result.outcome.value}. {result.reason}"

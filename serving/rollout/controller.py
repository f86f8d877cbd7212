"""The steward: steps every open rollout again and again, so that harm is answered within a minute and not at the next
scheduled step. A look is a commit of what the gateways have left, so it is not taken more often than that.

It runs what the scheduled ``rollout_step`` runs, keeps nothing, and may be started twice or not at all: the ledger
hears one. What fails is said once and tried again.
"""

import logging
import threading

from lake.lake import Lake
from models.types import Verdict
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
    return {name: in_words(one) for name, one in attempt_all(lake).items()}


def watch(lake: Lake, every_s: float, stop: threading.Event) -> None:
    """Step until told to stop; say what changed."""
    before: dict[str, str] = {}
    while not stop.is_set():
        try:
            told = step_all(lake)
        except Exception as error:
            told = {"": in_words(error)}
        for name, line in told.items():
            if before.get(name) != line:
                log.info("%s: %s", name or "lake", line)
        before = told
        stop.wait(every_s)


def in_words(found: Verdict | Exception) -> str:
    """What a step came to."""
    if isinstance(found, Exception):
        return f"{type(found).__name__}: {found}"
    return f"{found.outcome.value}. {found.reason}"

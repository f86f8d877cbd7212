"""Retiring: a version whose training data have lost rows is no model to stand on any more, and is trained anew.

Retention takes rows from the snapshots that registered versions are tagged with. Before it does, those versions are
retired: an entry in the model's chain, from which on no candidate has to beat such a version, nothing waits or rolls
out, and nothing goes back to it. The one in production answers on until its successor does, and that successor is
asked for here, through the same request that every trigger makes; the next hourly look starts it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from lake.lake import Lake
from models.registry import kinds
from models.registry.fold import read_state
from models.triggers.requests import RequestResult, request_training
from models.triggers.rules import RetryBackoff, Trigger

TAG = re.compile(r"(?P<model>.+)-v(?P<version>\d+)")
"""How registration names the tag of a version: ``agents-v3``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Successor:
    """A retired version that is still in production, and what came of asking for another."""

    version: str
    """``agents@v3``."""
    answer: str
    """``started``, ``covered`` or ``backing_off``."""
    detail: str


def retire(lake: Lake, tags: Sequence[str], data_set: str, cut: str) -> list[str]:
    """Retire the versions that these tags belong to; a version is retired once, for the first reason there was.

    Args:
        lake: where the ledger is.
        tags: of a table, such as ``agents-v3``; what is no version's tag is passed over.
        data_set: which is about to lose rows.
        cut: the day before which it loses them (ISO 8601).

    Returns:
        Names of the versions that are retired by this, such as ``agents@v3``.
    """
    retired = []
    for tag in tags:
        named = TAG.fullmatch(tag)
        state = read_state(lake.ledger, named["model"]) if named else None
        if named is None or state is None or not state.version(number := int(named["version"])):
            continue
        if number not in state.retired:
            reason = f"{data_set}: rows before {cut}, which it was trained on, are past their retention."
            payload = {"version": number, "reason": reason, "data_set": data_set, "cut": cut}
            lake.ledger.append(kinds.model_chain(state.model), kinds.RETIRED, kinds.retired_key(number), payload)
            retired.append(f"{state.model}@v{number}")
    return retired


def replace_retired(lake: Lake, patience: RetryBackoff, day: str) -> list[Successor]:
    """Ask for a training of every model whose version in production is retired; asked twice on a day, once.

    Args:
        lake: where the ledgers are.
        patience: how failed trainings are borne with.
        day: names this asking (ISO 8601): a training that did not lead to a successor is asked for again another day.
    """
    models = kinds.model_names(lake.ledger)
    found = []
    for state in (read_state(lake.ledger, model) for model in models):
        if state.production and state.production.version in state.retired:
            name = state.production.name
            reason = f"{name} is in production, and rows it was trained on are past their retention"
            asked = request_training(lake, state.model, Trigger.RETENTION, f"retention:{name}:{day}", reason, patience)
            found.append(_successor(name, asked))
    return found


def _successor(version: str, asked: RequestResult) -> Successor:
    return Successor(version=version, answer=asked.outcome.value, detail=asked.detail)

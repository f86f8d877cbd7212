"""Retire versions whose training data lose rows by retention, and request the training of their successors.

Retention deletes rows from the snapshots that registered versions are tagged with. Before that, these versions are
retired by an entry in the model's chain: no candidate has to beat such a version any more, it has no rollout, and no
roll-back leads to it. The one in production stays until its successor replaces it. That successor is requested here in
the same way as by every trigger; the next hourly check starts its run.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from lake.contracts import contract as named
from lake.contracts import contracts
from lake.lake import Lake
from lake.maintenance.retention import RetentionDue, find_due, remove_due
from models.registry import kinds
from models.registry.fold import read_state
from models.triggers.requests import request_training
from models.triggers.rules import RetryBackoff, Trigger

TAG = re.compile(r"(?P<model>.+)-v(?P<version>\d+)")
"""The tag of a registered version: ``agents-v3``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Successor:
    """A retired version that is still in production, and the result of the request for its successor."""

    version: str
    """``agents@v3``."""
    answer: str
    """``started``, ``covered`` or ``backing_off``."""
    detail: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Retention:
    """The result of one run of retention."""

    dry_run: bool
    due: list[RetentionDue]
    """Data sets with rows or raw objects past their retention."""
    retired: list[str]
    """Versions that this run retired, such as ``agents@v3``."""
    successors: list[Successor]


def retire(lake: Lake, tags: Sequence[str], data_set: str, cut: str) -> list[str]:
    """Retire the versions that a table's tags (``agents-v3``) name; return the newly retired ones (``agents@v3``).

    A version is retired once, with the first reason: the data set will lose its rows before ``cut`` (ISO 8601).
    """
    retired = []
    for tag in tags:
        match = TAG.fullmatch(tag)
        if match is None:
            continue
        state, number = read_state(lake.ledger, match["model"]), int(match["version"])
        if state.version(number) and number not in state.retired:
            reason = f"{named(data_set).table}: rows before {cut}, which it was trained on, are past their retention."
            payload = {"version": number, "reason": reason, "data_set": data_set, "cut": cut}
            lake.ledger.append(kinds.model_chain(state.model), kinds.RETIRED, f"retired:{number}", payload)
            retired.append(f"{state.model}@v{number}")
    return retired


def replace_retired(lake: Lake, patience: RetryBackoff, day: str) -> list[Successor]:
    """Request a training of every model whose version in production is retired.

    ``day`` (ISO 8601) is part of the request's key: without a successor the training is requested again on another day.
    """
    successors = []
    for state in (read_state(lake.ledger, model) for model in kinds.model_names(lake.ledger)):
        if state.production and state.production.version in state.retired:
            name = state.production.name
            reason = f"{name} is in production, and rows it was trained on are past their retention"
            key = f"retention:{name}:{day}"
            result = request_training(lake, state.model, Trigger.RETENTION, key, reason, patience)
            successors.append(Successor(version=name, answer=result.outcome.value, detail=result.detail))
    return successors


def enforce(lake: Lake, now: datetime, patience: RetryBackoff, *, dry_run: bool = False) -> Retention:
    """Remove every row and raw object past its retention, after retiring the versions that were trained on them.

    Versions are retired first: a run that is killed in between finds the rows again, and no version is in production
    without a record that its rows are gone. Retention is counted back from ``now`` (UTC).
    """
    found = [(contract, find_due(lake, contract, now)) for contract in contracts().values()]
    past = [(contract, due) for contract, due in found if not due.empty]
    retention = Retention(dry_run=dry_run, due=[due for _, due in past], retired=[], successors=[])
    if dry_run:
        return retention
    retired = [name for _, due in past for name in retire(lake, due.tags, due.data_set, due.cut)]
    for contract, due in past:
        remove_due(lake, contract, due)
    successors = replace_retired(lake, patience, now.date().isoformat())
    return replace(retention, retired=retired, successors=successors)

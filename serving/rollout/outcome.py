"""How a rollout ends: its one closing entry, the verdict on it, and what makes a promotion void."""

import logging
from typing import Any

from lake.lake import Lake
from lake.store.ledger import Condition, Entry, Ledger
from models.registry.fold import fold
from models.registry.kinds import model_chain, model_of
from models.registry.state import ModelState
from models.types import ModelVersion, Outcome, Verdict
from serving.rollout.plan import RolloutId, closing_key

log = logging.getLogger("fuelline.rollout")


def void_reason(state: ModelState, rollout: RolloutId) -> str:
    """Why a promotion would be void; empty while the baseline of the rollout is still in production."""
    if state.baseline == rollout.baseline:
        return ""
    name, now = rollout.version.name, state.baseline
    return f"Void: {name} was judged against {rollout.baseline}, but {now} is in production now."


def close(
    lake: Lake,
    rollout: RolloutId,
    outcome: Outcome,
    reason: str,
    evidence: dict[str, Any],
    *,
    live: bool,
    only_if: Condition | None = None,
) -> Verdict:
    """End a rollout, or return the verdict with which it has ended already.

    ``evidence`` is plain JSON. ``live`` says whether the candidate has passed its shadow: then an end without a
    promotion alerts a person. Raises ``ChainChanged`` where ``only_if`` refuses (``Ledger.append``).
    """
    payload = rollout.payload(reason, **evidence, live=live)
    entry = lake.ledger.append(rollout.chain, outcome.value, closing_key(rollout.key), payload, only_if)
    ended = verdict_of(lake.ledger, entry)
    log.info("%s: %s. %s", rollout.version.name, ended.outcome.value, ended.reason)
    return ended


def verdict_of(ledger: Ledger, entry: Entry) -> Verdict:
    """The verdict of a closing entry. A promotion that another one preceded is void, whoever wrote it."""
    model, number = model_of(entry), int(entry.payload["version"])
    outcome, reason = Outcome(entry.kind), str(entry.payload["reason"])
    if outcome is Outcome.PROMOTED:
        production = fold(model, (past for past in ledger.entries(entry.chain) if past.seq <= entry.seq)).production
        if production is None or production.version != number:
            outcome, reason = Outcome.INCONCLUSIVE, f"Void: {entry.payload['baseline']} was replaced in the meantime."
    return Verdict(model=model, outcome=outcome, version=number, reason=reason, entry=entry.digest)


def verdict(version: ModelVersion, outcome: Outcome, reason: str, entry: Entry) -> Verdict:
    """A verdict on this version that rests on this entry."""
    return Verdict(model=version.model, outcome=outcome, version=version.version, reason=reason, entry=entry.digest)


def last_closed(ledger: Ledger, version: ModelVersion) -> Entry | None:
    """The entry that ended the newest rollout of a version; a rollback after its promotion is such an entry too."""
    ends = [
        entry
        for entry in ledger.entries(model_chain(version.model))
        if entry.key.startswith(f"rollout:{version.name}:") and entry.key.endswith((":closed", ":rolled_back"))
    ]
    return ends[-1] if ends else None

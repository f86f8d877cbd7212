"""How a rollout ends: the one closing entry, the verdict it amounts to, and what makes a promotion void."""

import logging
from typing import Any

from lake.lake import Lake
from lake.store.ledger import Condition, Entry
from models.registry.fold import fold, read_state
from models.registry.kinds import model_chain
from models.types import ModelVersion, Outcome, Verdict
from serving.rollout.plan import closing, passing

log = logging.getLogger("fuelline.rollout")


def overtaken(lake: Lake, model: str, name: str, baseline: str) -> str:
    """Why a promotion would be void; empty while the judged baseline is still in production."""
    now = read_state(lake.ledger, model).baseline
    if now == baseline:
        return ""
    return f"Void: {name} was judged against {baseline}, but {now} is in production now."


def close(
    lake: Lake,
    version: ModelVersion,
    key: str,
    baseline: str,
    outcome: Outcome,
    reason: str,
    shown: dict[str, Any],
    only_if: Condition | None = None,
) -> Verdict:
    """End a rollout, or hear how it has ended.

    Args:
        lake: where the ledger is.
        version: the candidate.
        key: the rollout's.
        baseline: what the candidate was judged against.
        outcome: how it ends.
        reason: why, in a sentence.
        shown: the evidence, as plain JSON. Whether it had gone beyond its shadow is added: then a person is told.
        only_if: see ``Ledger.append``.

    Raises:
        ChainMoved: ``only_if`` says no.
    """
    state = read_state(lake.ledger, version.model)
    live = bool(
        state.rollout and state.rollout.key == key and lake.ledger.find(model_chain(version.model), passing(key))
    )
    payload = {"version": version.version, "baseline": baseline, "rollout": key, "reason": reason, **shown}
    payload |= {"live": live}
    entry = lake.ledger.append(model_chain(version.model), outcome.value, closing(key), payload, only_if)
    verdict = verdict_of(lake, version, entry)
    log.info("%s: %s. %s", version.name, verdict.outcome.value, verdict.reason)
    return verdict


def verdict_of(lake: Lake, version: ModelVersion, entry: Entry) -> Verdict:
    """What a closing entry amounts to: a promotion that another one overtook is void, whoever wrote it."""
    outcome, reason = Outcome(entry.kind), str(entry.payload["reason"])
    history = [one for one in lake.ledger.entries(entry.chain) if one.seq <= entry.seq]
    if outcome is Outcome.PROMOTED and fold(version.model, history).production != version:
        outcome, reason = Outcome.INCONCLUSIVE, f"Void: {entry.payload['baseline']} was replaced in the meantime."
    return Verdict(model=version.model, outcome=outcome, version=version.version, reason=reason, entry=entry.digest)


def last_closed(lake: Lake, version: ModelVersion) -> Entry | None:
    """How the newest rollout of a version ended; a roll-back after the promotion is its end."""
    ends = [
        entry
        for entry in lake.ledger.entries(model_chain(version.model))
        if entry.key.startswith(f"rollout:{version.name}:") and entry.key.endswith((":closed", ":rolled_back"))
    ]
    return ends[-1] if ends else None


def rolling_out(version: ModelVersion, reason: str, entry: Entry) -> Verdict:
    """The rollout is under way; ``entry`` is its newest."""
    return Verdict(
        model=version.model,
        outcome=Outcome.ROLLING_OUT,
        version=version.version,
        reason=reason,
        entry=entry.digest,
    )

"""Opening a rollout: at once, in place of another that is still in its shadow, or later from the queue."""

import contextlib
from collections.abc import Sequence
from typing import Any

from errors import ChainChanged
from lake.lake import Lake
from lake.store.ledger import Entry
from models.registry import kinds
from models.registry.fold import fold, read_state
from models.registry.kinds import model_chain
from models.registry.registry import find_version
from models.registry.state import ModelState, Rollout
from models.serialize import to_plain
from models.spec import TrainingProfile
from models.types import ModelVersion, Outcome, Verdict
from serving.policy import CanaryRule
from serving.rollout.outcome import close, verdict, verdict_of, void_reason
from serving.rollout.plan import RolloutId, RolloutPlan, closing_key, plan_fields
from serving.statistics.shadow_test import ShadowRule


def open_rollout(
    lake: Lake, version: ModelVersion, baseline: str, profile: TrainingProfile, rule: ShadowRule, canary: CanaryRule
) -> Verdict:
    """Open the rollout of a registered version, with everything that its steps will need.

    A rollout that is still in its shadow is superseded. Behind one that has users, or whose promotion is still watched,
    this one is queued. A second call returns the present verdict of the first. ``baseline`` is the name of what the
    version was evaluated against: ``agents@v3`` or ``base``.
    """
    live = bool(lake.settings.vllm_replicas)
    plan = RolloutPlan(version=version.version, baseline=baseline, rule=rule, canary=canary, profile=profile, live=live)
    key = f"rollout:{version.name}:{baseline}:{plan.digest}"
    rollout = RolloutId(version=version, baseline=baseline, key=key)
    while True:
        state = read_state(lake.ledger, version.model)
        with contextlib.suppress(ChainChanged):  # another rollout was stepped between the read and the append
            return _open_or_queue(lake, state, rollout, plan)


def next_queued(lake: Lake, state: ModelState) -> Entry | None:
    """The newest queued rollout that is neither opened nor of a retired version; it replaces those queued before it."""
    ledger, chain = lake.ledger, model_chain(state.model)
    queued = [
        entry for entry in ledger.entries(chain, kind=kinds.ROLLOUT_QUEUED) if _version(entry) not in state.retired
    ]
    if not queued:
        return None
    key = queued[-1].payload["rollout"]
    return None if ledger.find(chain, key) or ledger.find(chain, closing_key(key)) else queued[-1]


def open_next(lake: Lake, version: ModelVersion, state: ModelState) -> ModelState:
    """Open the queued rollout of this version where nothing is ahead of it any more; the state after that."""
    if state.rollout or state.soak:
        return state
    queued = next_queued(lake, state)
    if queued is None or _version(queued) != version.version:
        return state
    with contextlib.suppress(ChainChanged):
        _append_opened(lake, version.model, queued.payload["rollout"], plan_fields(queued))
    return read_state(lake.ledger, version.model)


def _open_or_queue(lake: Lake, state: ModelState, rollout: RolloutId, plan: RolloutPlan) -> Verdict:
    """Append the one entry that the state calls for. Raises ``ChainChanged`` if it has changed since it was read."""
    name, current = rollout.version.name, state.rollout
    if closed := lake.ledger.find(rollout.chain, closing_key(rollout.key)):
        return verdict_of(lake.ledger, closed)
    if void := void_reason(state, rollout):
        live = bool(current and current.key == rollout.key and current.shadow_passed)
        return close(lake, rollout, Outcome.INCONCLUSIVE, void, {}, live=live)
    if ahead := _ahead(state, rollout.key):
        reason = f"{name} waits for {ahead}."
        payload = {**to_plain(plan), "rollout": rollout.key, "reason": reason}
        queued = lake.ledger.append(rollout.chain, kinds.ROLLOUT_QUEUED, f"{rollout.key}:queued", payload)
        return verdict(rollout.version, Outcome.ROLLING_OUT, reason, queued)
    if current and current.key != rollout.key:
        _supersede(lake, current, rollout)
    opened = _append_opened(lake, state.model, rollout.key, to_plain(plan))
    reason = f"{name} is registered and its rollout against {plan.baseline} is open."
    return verdict(rollout.version, Outcome.ROLLING_OUT, reason, opened)


def _ahead(state: ModelState, key: str) -> str:
    """What the rollout of this key has to wait for; empty where it can be opened.

    Users who have begun with a candidate are not moved to a third version.
    """
    if state.rollout and state.rollout.key != key and state.rollout.share > 0:
        return f"the canary of {state.model}@v{state.rollout.version}"
    return f"the watch over {state.model}@v{state.soak.version}" if state.soak else ""


def _supersede(lake: Lake, old: Rollout, new: RolloutId) -> None:
    """Close a rollout that is still in its shadow: its closing key is taken then, so it cannot promote.

    Raises ``ChainChanged`` where it has had its first user, or is closed.
    """
    model = new.version.model

    def has_no_user(entries: Sequence[Entry]) -> bool:
        current = fold(model, entries).rollout
        return current is not None and (current.key, current.share) == (old.key, 0.0)

    candidate = find_version(lake.ledger, f"{model}@v{old.version}")
    superseded = RolloutId(version=candidate, baseline=old.baseline, key=old.key)
    reason, live = f"Superseded by {new.version.name} before it was decided.", old.shadow_passed is not None
    close(lake, superseded, Outcome.INCONCLUSIVE, reason, {}, live=live, only_if=has_no_user)


def _append_opened(lake: Lake, model: str, key: str, plan: dict[str, Any]) -> Entry:
    """Open a rollout. Raises ``ChainChanged`` where another is open or watched: of two the fold would drop one."""

    def is_free(entries: Sequence[Entry]) -> bool:
        state = fold(model, entries)
        return state.rollout is None and state.soak is None

    return lake.ledger.append(model_chain(model), kinds.ROLLOUT_OPENED, key, plan, is_free)


def _version(entry: Entry) -> int:
    return int(entry.payload["version"])

"""A rollout: opened when its candidate is registered, then advanced by one idempotent step at a time until it ends.

A retraining ends when it has opened the rollout, so no pod waits for what may take days. Each step reads the state of
the rollout from the ledger, does the work that is due, and appends the result under a key: a step that was killed is
done again, and of two schedulers only one entry is kept. The shadow comes first. Without live serving it closes the
rollout; otherwise the canary (``serving.rollout.canary``) follows.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from errors import ChainMoved, DataError
from lake.contracts import contract
from lake.lake import Lake
from lake.sources.inbox import collect_all
from lake.store.ledger import Entry
from models.registry import kinds
from models.registry.fold import fold, read_state
from models.registry.kinds import model_chain, model_names
from models.registry.registry import find_version
from models.registry.state import ModelState, Rollout, Soak
from models.serialize import to_plain
from models.spec import TrainingProfile
from models.types import ModelVersion, Outcome, Verdict, baseline_name
from serving.policy import CanaryRule
from serving.rollout.canary import canary_step, watch_step
from serving.rollout.observations import FEEDBACK, PREDICTIONS, Observations, observe
from serving.rollout.outcome import close, in_progress, last_closed, verdict_of, void_reason
from serving.rollout.plan import RolloutId, RolloutPlan, closing_key, plan_fields, plan_of
from serving.rollout.shadow import shadow_step
from serving.statistics.shadow_test import ShadowRule


def open_rollout(
    lake: Lake,
    version: ModelVersion,
    baseline: ModelVersion | None,
    profile: TrainingProfile,
    rule: ShadowRule,
    canary: CanaryRule,
) -> Verdict:
    """Open the rollout of a registered version, with everything that its steps will need.

    A rollout that is still in its shadow is superseded. Behind one that has users, or whose promotion is still watched,
    this one is queued. A second call returns the present verdict of the first.

    Args:
        lake: where the ledger is.
        version: the candidate.
        baseline: what it was evaluated against; None for the base model.
        profile: how many requests the shadow compares.
        rule: what the shadow counts as harm.
        canary: the canary's steps, and what a promotion needs.
    """
    plan = RolloutPlan(
        version=version.version,
        baseline=baseline_name(baseline),
        rule=rule,
        canary=canary,
        profile=profile,
        live=bool(lake.settings.vllm_replicas),
    )
    key = f"rollout:{version.name}:{plan.baseline}:{plan.digest}"
    rollout = RolloutId(version=version, baseline=plan.baseline, key=key)
    while True:
        state = read_state(lake.ledger, version.model)
        with contextlib.suppress(ChainMoved):  # another rollout was stepped between the read and the append
            return _open_or_queue(lake, state, rollout, plan)


def open_rollouts(lake: Lake) -> list[str]:
    """Names of the versions that a step can advance, such as ``agents@v3``.

    Of each model it is the one whose rollout is open or whose promotion is still watched, else the next in the queue.
    """
    current = [(model, _current(lake, read_state(lake.ledger, model))) for model in model_names(lake.ledger)]
    return [f"{model}@v{number}" for model, number in current if number]


def is_in_shadow(lake: Lake, name: str) -> bool:
    """Whether the next step of this version's rollout compares it in its shadow: the step that needs a GPU."""
    version = find_version(lake.ledger, name)
    state = read_state(lake.ledger, version.model)
    if rollout := _rollout_of(state, version):
        return rollout.shadow_passed is None
    return _soak_of(state, version) is None


def advance(lake: Lake, name: str) -> Verdict:
    """Take the rollout of this version one step further; the verdict of a closed one is returned again.

    A promotion is void unless the baseline is still in production at the moment it is appended.

    Raises:
        UnknownName: the version is not registered.
        TamperedArtifact: a file of the version is not what was registered.
        DataError: no rollout of it was opened.
        PeerError: a replica of vLLM does not answer.
    """
    version = find_version(lake.ledger, name)
    state = _open_next(lake, version, read_state(lake.ledger, version.model))
    if rollout := _rollout_of(state, version):
        return _step(lake, version, state, rollout)
    if soak := _soak_of(state, version):
        observations = _collect_and_observe(lake, version, soak.key)
        return watch_step(lake, version, soak, baseline_name(state.rollback_target), observations)
    if closed := last_closed(lake.ledger, version):
        return verdict_of(lake.ledger, closed)
    raise DataError(f"no rollout of {name} is open; a retraining opens one when it registers a version")


def collect_inbox(lake: Lake) -> None:
    """Ingest what the gateways have left in the inbox, so that a step's evidence is complete."""
    for source, table in (("predictions", PREDICTIONS), ("feedback", FEEDBACK)):
        collect_all(lake, contract(table), source)


def _step(lake: Lake, version: ModelVersion, state: ModelState, rollout: Rollout) -> Verdict:
    """Run the shadow, and after it the canary where live traffic is served."""
    identity = RolloutId(version=version, baseline=rollout.baseline, key=rollout.key)
    void = void_reason(state, identity)
    if void and rollout.shadow_passed is None:
        return close(lake, identity, Outcome.INCONCLUSIVE, void, {}, live=False)
    plan = plan_of(lake, version.model, rollout.key)
    if rollout.shadow_passed is None:
        if ended := shadow_step(lake, identity, plan):
            return ended
        rollout = replace(rollout, shadow_passed=lake.ledger.clock())
        void = void_reason(read_state(lake.ledger, version.model), identity)  # the comparison may have taken an hour
    observed = rollout.began is not None and not void
    observations = _collect_and_observe(lake, version, rollout.key) if observed else None
    return canary_step(lake, version, rollout, plan, observations, void)


def _collect_and_observe(lake: Lake, version: ModelVersion, key: str) -> Observations:
    collect_inbox(lake)
    return observe(lake, version, key)


def _open_or_queue(lake: Lake, state: ModelState, rollout: RolloutId, plan: RolloutPlan) -> Verdict:
    """Append the one entry that the state calls for.

    Raises:
        ChainMoved: the state has changed since it was read.
    """
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
        return in_progress(rollout, reason, queued)
    if current and current.key != rollout.key:
        _supersede(lake, current, rollout)
    opened = _append_opened(lake, state.model, rollout.key, to_plain(plan))
    return in_progress(rollout, f"{name} is registered and its rollout against {plan.baseline} is open.", opened)


def _ahead(state: ModelState, key: str) -> str:
    """What the rollout of this key has to wait for; empty where it can be opened.

    Users who have begun with a candidate are not moved to a third version.
    """
    if state.rollout and state.rollout.key != key and state.rollout.share > 0:
        return f"the canary of {state.model}@v{state.rollout.version}"
    return f"the watch over {state.model}@v{state.soak.version}" if state.soak else ""


def _supersede(lake: Lake, old: Rollout, new: RolloutId) -> None:
    """Close a rollout that is still in its shadow: its closing key is taken then, so it cannot promote.

    Raises:
        ChainMoved: it has met its first user, or it is closed.
    """
    model = new.version.model

    def has_no_user(entries: Sequence[Entry]) -> bool:
        current = fold(model, entries).rollout
        return current is not None and (current.key, current.share) == (old.key, 0.0)

    candidate = find_version(lake.ledger, f"{model}@v{old.version}")
    superseded = RolloutId(version=candidate, baseline=old.baseline, key=old.key)
    reason = f"Superseded by {new.version.name} before it was decided."
    live = old.shadow_passed is not None
    close(lake, superseded, Outcome.INCONCLUSIVE, reason, {}, live=live, only_if=has_no_user)


def _append_opened(lake: Lake, model: str, key: str, plan: dict[str, Any]) -> Entry:
    """Open a rollout where no other is open or watched: of two opened at once the fold would drop one.

    Raises:
        ChainMoved: another one is open or watched.
    """

    def is_free(entries: Sequence[Entry]) -> bool:
        state = fold(model, entries)
        return state.rollout is None and state.soak is None

    return lake.ledger.append(model_chain(model), kinds.ROLLOUT_OPENED, key, plan, is_free)


def _current(lake: Lake, state: ModelState) -> int:
    """Number of the version that a step of this model would advance; 0 where there is none."""
    if active := state.rollout or state.soak:
        return active.version
    queued = _next_queued(lake, state)
    return int(queued.payload["version"]) if queued else 0


def _next_queued(lake: Lake, state: ModelState) -> Entry | None:
    """The newest queued rollout that is neither opened nor of a retired version; it replaces those queued before it."""
    ledger, chain = lake.ledger, model_chain(state.model)
    queued = [
        entry for entry in ledger.entries(chain, kind=kinds.ROLLOUT_QUEUED) if _version(entry) not in state.retired
    ]
    if not queued:
        return None
    key = queued[-1].payload["rollout"]
    return None if ledger.find(chain, key) or ledger.find(chain, closing_key(key)) else queued[-1]


def _open_next(lake: Lake, version: ModelVersion, state: ModelState) -> ModelState:
    """Open the queued rollout of this version where nothing is ahead of it any more; the state after that."""
    if state.rollout or state.soak:
        return state
    queued = _next_queued(lake, state)
    if queued is None or _version(queued) != version.version:
        return state
    with contextlib.suppress(ChainMoved):
        _append_opened(lake, version.model, queued.payload["rollout"], plan_fields(queued))
    return read_state(lake.ledger, version.model)


def _version(entry: Entry) -> int:
    return int(entry.payload["version"])


def _rollout_of(state: ModelState, version: ModelVersion) -> Rollout | None:
    return state.rollout if state.rollout and state.rollout.version == version.version else None


def _soak_of(state: ModelState, version: ModelVersion) -> Soak | None:
    return state.soak if state.soak and state.soak.version == version.version else None

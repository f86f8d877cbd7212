"""A rollout: opened when its candidate is registered, then advanced one idempotent step at a time until it is closed.

Retraining ends when the rollout is opened, so no pod waits for what may take days. Each step reads where the rollout
stands from the ledger, does the work that is due, and writes what came of it under a key: killed in the middle it does
its work again, and of two schedulers one is heard. The shadow comes first. With no live serving it closes the rollout;
otherwise the canary (``serving.rollout.canary``) goes on from it.
"""

import contextlib
from collections.abc import Sequence
from typing import Any

from errors import ChainMoved, DataError
from lake.lake import Lake
from lake.store.ledger import Entry
from models.registry.fold import fold, read_state
from models.registry.kinds import model_chain
from models.registry.registry import find_version, load_version
from models.registry.state import ModelState, Rollout
from models.serialize import to_plain
from models.spec import TrainingProfile
from models.types import BASE, ModelVersion, Outcome, Verdict, baseline_name
from serving.policy import CanaryRule
from serving.rollout.canary import canary_step, watch_step
from serving.rollout.outcome import close, last_closed, overtaken, rolling_out, verdict_of
from serving.rollout.plan import Plan, closing, key_of, passing, plan_of
from serving.rollout.shadow import compare
from serving.statistics.shadow_test import ShadowRule, decide

ENDS_HERE = "With no live serving configured the rollout ends here."
QUEUED = "rollout_queued"


def open_rollout(
    lake: Lake,
    version: ModelVersion,
    baseline: ModelVersion | None,
    profile: TrainingProfile,
    rule: ShadowRule,
    canary: CanaryRule,
) -> Verdict:
    """Open the rollout of a registered version, with all that its steps will need.

    A rollout that is still in its shadow is superseded; behind one that has users, or whose promotion is still watched,
    this one waits. Asked again, it says how the first one stands.

    Args:
        lake: where the ledger is.
        version: the candidate.
        baseline: what it was judged against; None for the base model.
        profile: how many requests the shadow compares.
        rule: what the shadow counts as harm.
        canary: how its users meet it, and what it takes to be promoted.
    """
    plan = Plan(
        version=version.version,
        baseline=baseline_name(baseline),
        rule=rule,
        canary=canary,
        profile=profile,
        live=bool(lake.settings.vllm_replicas),
    )
    key = key_of(version, baseline, plan)
    if closed := lake.ledger.find(model_chain(version.model), closing(key)):
        return verdict_of(lake, version, closed)
    if late := overtaken(lake, version.model, version.name, plan.baseline):
        return close(lake, version, key, plan.baseline, Outcome.INCONCLUSIVE, late, {})
    while True:
        state = read_state(lake.ledger, version.model)
        if ahead := _ahead(state, key):
            return _queue(lake, version, key, plan, ahead)
        with contextlib.suppress(ChainMoved):  # somebody has stepped another rollout in between
            if state.rollout and state.rollout.key != key:
                _supersede(lake, version, state.rollout)
            return _open(lake, version, key, plan)


def open_rollouts(lake: Lake) -> list[str]:
    """Names of the versions that a step can advance, such as ``agents@v3``: of each model the one whose rollout is open
    or whose promotion is still watched, else the one that waits its turn.
    """
    models = [name.removeprefix("models/") for name in lake.ledger.chains("models/")]
    found = [(model, _current(lake, read_state(lake.ledger, model))) for model in models]
    return [f"{model}@v{number}" for model, number in found if number]


def is_in_shadow(lake: Lake, name: str) -> bool:
    """Whether the next step of this version's rollout compares it in its shadow: the step that wants a GPU."""
    version = find_version(lake.ledger, name)
    state = read_state(lake.ledger, version.model)
    if state.rollout and state.rollout.version == version.version:
        return lake.ledger.find(model_chain(version.model), passing(state.rollout.key)) is None
    return not (state.soak and state.soak.version == version.version)


def advance(lake: Lake, name: str) -> Verdict:
    """Take the rollout of this version one step further; the verdict of a closed one is told again.

    A promotion is void unless the baseline is still in production at the moment it is written.

    Raises:
        UnknownName: the version is not registered.
        TamperedArtifact: a file of the version is not what was registered.
        DataError: no rollout of it was ever opened.
        PeerError: a replica of vLLM does not answer.
    """
    version = find_version(lake.ledger, name)
    state = read_state(lake.ledger, version.model)
    waiting = _waiting(lake, state)
    if not (state.rollout or state.soak) and waiting and waiting.payload["version"] == version.version:
        state = _next_in_turn(lake, version, waiting)
    if state.rollout and state.rollout.version == version.version:
        return _step(lake, version, state.rollout)
    if state.soak and state.soak.version == version.version:
        return watch_step(lake, version, state.soak)
    if closed := last_closed(lake, version):
        return verdict_of(lake, version, closed)
    raise DataError(f"no rollout of {name} is open; a retraining opens one when it registers a version")


def _step(lake: Lake, version: ModelVersion, rollout: Rollout) -> Verdict:
    """The shadow, and after it the canary where anything serves live traffic."""
    if late := overtaken(lake, version.model, version.name, rollout.baseline):
        return close(lake, version, rollout.key, rollout.baseline, Outcome.INCONCLUSIVE, late, {})
    plan = plan_of(lake, version.model, rollout.key)
    passed = lake.ledger.find(model_chain(version.model), passing(rollout.key))
    ended = None if passed else _shadow(lake, version, rollout, plan)
    return ended or canary_step(lake, version, rollout, plan)


def _shadow(lake: Lake, version: ModelVersion, rollout: Rollout, plan: Plan) -> Verdict | None:
    """Compare and decide; None where the candidate goes on to its users."""
    baseline = None if rollout.baseline == BASE else find_version(lake.ledger, rollout.baseline)
    spec = load_version(lake, version.name).spec
    evidence = compare(lake, version, spec, plan.profile, baseline, plan.rule)
    outcome, reason = decide(evidence, plan.rule)
    shown: dict[str, Any] = {"evidence": to_plain(evidence), "rule": to_plain(plan.rule)}
    live = plan.live or bool(lake.settings.vllm_replicas)
    if outcome is Outcome.PROMOTED and live:
        payload = {"version": version.version, "baseline": rollout.baseline, "rollout": rollout.key, "reason": reason}
        lake.ledger.append(model_chain(version.model), "shadow_passed", passing(rollout.key), payload | shown)
        return None
    if outcome is Outcome.PROMOTED and (late := overtaken(lake, version.model, version.name, rollout.baseline)):
        outcome, reason = Outcome.INCONCLUSIVE, late
    told = reason if live else f"{reason} {ENDS_HERE}"
    return close(lake, version, rollout.key, rollout.baseline, outcome, told, shown)


def _open(lake: Lake, version: ModelVersion, key: str, plan: Plan) -> Verdict:
    opened = _append_opened(lake, version.model, key, to_plain(plan))
    reason = f"{version.name} is registered and its rollout against {plan.baseline} is open."
    return rolling_out(version, reason, opened)


def _ahead(state: ModelState, key: str) -> str:
    """Whose users this rollout has to wait for; empty where nobody's."""
    if state.rollout and state.rollout.key != key and state.rollout.share > 0:
        return f"the canary of {state.model}@v{state.rollout.version}"
    return f"the watch over {state.model}@v{state.soak.version}" if state.soak else ""


def _queue(lake: Lake, version: ModelVersion, key: str, plan: Plan, ahead: str) -> Verdict:
    """Let it wait: users who have begun with a candidate are not taken to a third version."""
    reason = f"{version.name} waits for {ahead}."
    queued = lake.ledger.append(
        model_chain(version.model), QUEUED, f"{key}:queued", {**to_plain(plan), "rollout": key, "reason": reason}
    )
    return rolling_out(version, reason, queued)


def _current(lake: Lake, state: ModelState) -> int:
    if now := state.rollout or state.soak:
        return now.version
    waiting = _waiting(lake, state)
    return int(waiting.payload["version"]) if waiting else 0


def _waiting(lake: Lake, state: ModelState) -> Entry | None:
    """The newest rollout in the queue, unless its version was retired; it has overtaken what stands before it there."""
    ledger, where = lake.ledger, model_chain(state.model)
    known = ledger.entries(where, kind=QUEUED)
    queued = [one for one in known if one.payload["version"] not in state.retired][-1:]
    keys = [entry.payload["rollout"] for entry in queued]
    begun = [ledger.find(where, key) or ledger.find(where, closing(key)) for key in keys]
    return queued[0] if queued and not begun[0] else None


def _next_in_turn(lake: Lake, version: ModelVersion, waiting: Entry) -> ModelState:
    payload = {name: waiting.payload[name] for name in Plan.__dataclass_fields__}
    with contextlib.suppress(ChainMoved):
        _append_opened(lake, version.model, waiting.payload["rollout"], payload)
    return read_state(lake.ledger, version.model)


def _append_opened(lake: Lake, model: str, key: str, plan: dict[str, Any]) -> Entry:
    """Open it where nothing else has users or a shadow: of two that are opened at once the fold would lose one.

    Raises:
        ChainMoved: another one is open, or watched.
    """

    def free(entries: Sequence[Entry]) -> bool:
        state = fold(model, entries)
        return state.rollout is None and state.soak is None

    return lake.ledger.append(model_chain(model), "rollout_opened", key, plan, free)


def _supersede(lake: Lake, version: ModelVersion, rollout: Rollout) -> None:
    """Close a rollout that is still in its shadow; its closing key is taken then, so it cannot promote.

    Raises:
        ChainMoved: it has met its first user, or it is closed.
    """

    def nobody_met_it(entries: Sequence[Entry]) -> bool:
        now = fold(version.model, entries).rollout
        return now is not None and (now.key, now.share) == (rollout.key, 0.0)

    old = find_version(lake.ledger, f"{version.model}@v{rollout.version}")
    reason = f"Superseded by {version.name} before it was decided."
    close(lake, old, rollout.key, rollout.baseline, Outcome.INCONCLUSIVE, reason, {}, nobody_met_it)

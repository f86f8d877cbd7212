"""A rollout is advanced by one idempotent step at a time until it ends.

A retraining ends when it has opened the rollout (``serving.rollout.opening``), so no pod waits for what may take days.
Each step reads the state of the rollout from the ledger, does the work that is due, and appends the result under a key:
a step that was killed is done again, and of two schedulers only one entry is kept. The shadow comes first. Without live
serving it closes the rollout; otherwise the canary (``serving.rollout.canary``) follows.
"""

from dataclasses import replace
from typing import TypeVar

from errors import DataError
from lake.contracts import contract
from lake.lake import Lake
from lake.sources.inbox import collect_all
from models.registry.fold import read_state
from models.registry.kinds import model_names, version_name
from models.registry.registry import find_version
from models.registry.state import ModelState, Rollout, Soak
from models.types import ModelVersion, Outcome, Verdict, baseline_name
from serving.rollout.canary import canary_step, watch_step
from serving.rollout.observations import FEEDBACK, PREDICTIONS, Observations, observe
from serving.rollout.opening import next_queued, open_next
from serving.rollout.outcome import close, last_closed, verdict_of, void_reason
from serving.rollout.plan import RolloutId, plan_of
from serving.rollout.shadow import shadow_step

Active = TypeVar("Active", Rollout, Soak)


def open_rollouts(lake: Lake) -> list[str]:
    """Names of the versions that a step can advance, such as ``agents@v3``.

    Of each model it is the one whose rollout is open or whose promotion is still watched, else the next in the queue.
    """
    names = []
    for model in model_names(lake.ledger):
        state = read_state(lake.ledger, model)
        if active := state.rollout or state.soak:
            names.append(f"{model}@v{active.version}")
        elif queued := next_queued(lake, state):
            names.append(version_name(queued))
    return names


def is_in_shadow(lake: Lake, name: str) -> bool:
    """Whether the next step of this version's rollout compares it in its shadow: the step that needs a GPU."""
    version = find_version(lake.ledger, name)
    state = read_state(lake.ledger, version.model)
    if rollout := _own(state.rollout, version):
        return rollout.shadow_passed is None
    return _own(state.soak, version) is None


def advance(lake: Lake, name: str) -> Verdict:
    """Take the rollout of this version one step further; the verdict of a closed one is returned again.

    A promotion is void unless the baseline is still in production at the moment it is appended. Raises ``DataError``
    where no rollout of it was opened, and ``PeerError`` where a replica of vLLM does not answer.
    """
    version = find_version(lake.ledger, name)
    state = open_next(lake, version, read_state(lake.ledger, version.model))
    if rollout := _own(state.rollout, version):
        return _step(lake, version, state, rollout)
    if soak := _own(state.soak, version):
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


def _own(active: Active | None, version: ModelVersion) -> Active | None:
    """The open rollout or the watch of a model, if it is that of this version."""
    return active if active and active.version == version.version else None

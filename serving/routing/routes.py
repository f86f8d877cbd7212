"""Routes: which versions answer for a model now, folded from the ledger, so a decision is in force once it is written.

A gateway reads them about once a second and keeps the last ones; no server has to be notified of a roll-back.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace

from errors import FuellineError, UnknownName
from lake.lake import Lake
from models.registry.fold import read_state
from models.registry.kinds import model_names
from models.registry.state import ModelState
from models.spec import ModelSpec
from models.types import BASE, ModelVersion
from serving.routing.split import Arm, arm_of, unit_of

log = logging.getLogger("fuelline.gateway")


@dataclass(frozen=True, kw_only=True, slots=True)
class Route:
    """Which versions of one model answer, and for which agents."""

    model: str
    agents: tuple[str, ...] = ()
    """The agents it answers for; empty: all agents that no other model names."""
    stable: ModelVersion | None = None
    """None: the base model."""
    candidate: ModelVersion | None = None
    share: float = 0.0
    """Share of the units that the candidate answers (0..1)."""
    rollout: str = ""
    """Key of the rollout in progress, or of a promotion that is still watched; empty without one."""
    prompt_version: str = ""

    def choose(self, assignment_key: str) -> "Choice":
        """The version for a user, conversation or request; see ``serving.routing.split``."""
        if not self.rollout:
            return Choice(adapter=adapter_name_of(self.stable))
        unit = unit_of(self.rollout, assignment_key)
        arm = arm_of(unit, self.share)
        chosen = self.candidate if arm == "candidate" else self.stable
        return Choice(adapter=adapter_name_of(chosen), rollout=self.rollout, arm=arm, unit=unit)

    @property
    def adapters(self) -> tuple[ModelVersion, ...]:
        """Every adapter that requests may be sent to."""
        return tuple(version for version in (self.stable, self.candidate) if version)


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """The version for one request, and its arm in a rollout."""

    adapter: str
    """``agents@3f9c2a71``, or ``base``."""
    rollout: str | None = None
    arm: Arm | None = None
    unit: str | None = None


def adapter_name_of(version: ModelVersion | None) -> str:
    """The name of a version in vLLM; None is the base model."""
    return version.adapter_name if version else BASE


def read_routes(lake: Lake) -> dict[str, Route]:
    """The route of each model in the ledger, by name."""
    return {name: route_of(lake, name) for name in model_names(lake.ledger)}


def route_of(lake: Lake, model: str, before: Route | None = None) -> Route:
    """One model's route. Its versions come from the ledger alone. Its agents come from a manifest; if that cannot be
    read they stay as in ``before``, so that a damaged file cannot delay a roll-back.
    """
    state = read_state(lake.ledger, model)
    try:
        spec = _spec(lake, state)
        base = Route(model=model, agents=tuple(spec.agents), prompt_version=spec.prompt_version)
    except FuellineError as error:
        if before is None:
            raise
        log.warning("%s: its agents stay as last read: %s", model, error)
        base = before
    if (rollout := state.rollout) and rollout.share > 0:
        candidate = state.version(rollout.version)
        return replace(base, stable=state.production, candidate=candidate, share=rollout.share, rollout=rollout.key)
    if soak := state.soak:
        return replace(base, stable=soak.former, candidate=state.production, share=soak.share, rollout=soak.key)
    return replace(base, stable=state.production, candidate=None, share=0.0, rollout="")


def route_for_agent(routes: Mapping[str, Route], agent: str) -> Route:
    """The route of the model that names the agent, else of the one for all agents. Raises ``UnknownName``."""
    named = next((route for route in routes.values() if agent in route.agents), None)
    found = named or next((route for route in routes.values() if not route.agents), None)
    if found is None:
        raise UnknownName("agent with a model", agent, {name for route in routes.values() for name in route.agents})
    return found


_SPECS: dict[tuple[str, str], ModelSpec] = {}
"""Model specs by the path and digest of their version; a manifest never changes."""


def _spec(lake: Lake, state: ModelState) -> ModelSpec:
    from models.registry.registry import load_manifest

    newest = state.production or (state.versions[-1] if state.versions else None)
    if newest is None:
        return ModelSpec(name=state.model)
    key = (newest.path, newest.digest)
    if key not in _SPECS:
        _SPECS[key] = load_manifest(lake, newest.name).spec
    return _SPECS[key]

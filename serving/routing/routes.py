"""Routes: what the ledger says about who answers, as of now. A pure fold, so a decision is in force once it is written.

A gateway reads it about once a second and keeps the last one it has seen; no server has to be told of a roll-back.
"""

import contextlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from errors import FuellineError, UnknownName
from lake.contracts.registries import AGENTS
from lake.lake import Lake
from models.registry.fold import read_state
from models.registry.state import ModelState
from models.spec import ModelSpec
from models.types import BASE, ModelVersion
from serving.routing.split import Arm, arm_of, unit_of

log = logging.getLogger("fuelline.gateway")


@dataclass(frozen=True, kw_only=True, slots=True)
class Route:
    """Who answers for one model."""

    model: str
    agents: tuple[str, ...] = ()
    """The agents it answers for; empty: every agent that no other model names."""
    stable: ModelVersion | None = None
    """None: the base model."""
    candidate: ModelVersion | None = None
    share: float = 0.0
    """Share of the units that the candidate answers (0..1)."""
    rollout: str = ""
    """Key of the rollout under way or of the one still watched; empty without one."""
    features: str = "agents_v1"
    prompt_version: str = ""

    def choose(self, who: str) -> "Choice":
        """Which version answers whom; see ``serving.routing.split``."""
        if not self.rollout:
            return Choice(adapter=adapter_of(self.stable))
        unit = unit_of(self.rollout, who)
        arm = arm_of(unit, self.share)
        chosen = self.candidate if arm == "candidate" else self.stable
        return Choice(adapter=adapter_of(chosen), rollout=self.rollout, arm=arm, unit=unit)

    @property
    def adapters(self) -> tuple[ModelVersion, ...]:
        """Every adapter that may be asked for now."""
        return tuple(version for version in (self.stable, self.candidate) if version)


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """The version that answers one request, and where it stands in a rollout."""

    adapter: str
    """``agents@3f9c2a71``, or ``base``."""
    rollout: str | None = None
    arm: Arm | None = None
    unit: str | None = None


def adapter_of(version: ModelVersion | None) -> str:
    """The name by which serving knows a version; None is the base model."""
    return version.adapter_name if version else BASE


def read_models(lake: Lake) -> list[str]:
    """Names of the models that the ledger knows. Lists every entry: not for every second."""
    return [chain.removeprefix("models/") for chain in lake.ledger.chains("models/")]


def read_routes(lake: Lake, models: Sequence[str] | None = None) -> dict[str, Route]:
    """The route of each model, by name; of every one that the ledger knows, unless some are named."""
    names = read_models(lake) if models is None else models
    return {name: route_of(lake, name) for name in names}


def route_of(lake: Lake, model: str, before: Route | None = None) -> Route:
    """One model's route. Who answers is the ledger's alone; whom it answers is in a manifest, and where that cannot be
    read it is as it was ``before``: no damaged file stands in the way of a roll-back.

    Raises:
        FuellineError: the ledger cannot be read, or the manifest and there is nothing before.
    """
    state = read_state(lake.ledger, model)
    try:
        known = _served(lake, state)
    except FuellineError as error:
        if before is None:
            raise
        log.warning("%s: whom it answers is as it was: %s", model, error)
        known = before
    if state.rollout and state.rollout.share > 0:
        candidate = state.version(state.rollout.version)
        return replace(
            known,
            stable=state.production,
            candidate=candidate,
            share=state.rollout.share,
            rollout=state.rollout.key,
        )
    if state.soak:
        return replace(
            known,
            stable=state.soak.former,
            candidate=state.production,
            share=state.soak.share,
            rollout=state.soak.key,
        )
    return replace(known, stable=state.production, candidate=None, share=0.0, rollout="")


def for_agent(routes: Mapping[str, Route], agent: str) -> Route:
    """The route of an agent: the model that names it, else the one that answers for every agent.

    Raises:
        UnknownName: no model of the ledger answers for it.
    """
    named = next((route for route in routes.values() if agent in route.agents), None)
    found = named or next((route for route in routes.values() if not route.agents), None)
    if found is None:
        raise UnknownName("agent with a model", agent, {name for route in routes.values() for name in route.agents})
    return found


def agents_of(lake: Lake, model: str) -> list[str]:
    """The agents whose requests this model's versions answer."""
    routes = read_routes(lake)
    answered = {}
    for agent in AGENTS:
        with contextlib.suppress(UnknownName):
            answered[agent] = for_agent(routes, agent).model
    return [agent for agent, by in answered.items() if by == model]


_SPECS: dict[tuple[str, str], ModelSpec] = {}
"""What a manifest says its model is; a manifest never changes."""


def _served(lake: Lake, state: ModelState) -> Route:
    """Whom the model answers, and from what: the part of its route that its manifest says."""
    spec = _spec(lake, state)
    return Route(
        model=state.model, agents=tuple(spec.agents), features=spec.features, prompt_version=spec.prompt_version
    )


def _spec(lake: Lake, state: ModelState) -> ModelSpec:
    from models.registry.registry import load_manifest

    newest = state.production or (state.versions[-1] if state.versions else None)
    if newest is None:
        return ModelSpec(name=state.model)
    key = (newest.path, newest.digest)
    if key not in _SPECS:
        _SPECS[key] = load_manifest(lake, newest.name).spec
    return _SPECS[key]

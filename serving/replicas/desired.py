"""What the ledger wants served: a fold over each model's chain, as of now and of every state within a grace period.

Wanted are the versions that routes send somebody to, the candidate of an open rollout before its first user, and the
version that a roll-back would return to. Time enters through the entries alone, so no reader has to remember when a
version ceased to be wanted.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from lake.lake import Lake
from lake.store.ledger import Entry
from models.registry.fold import fold
from models.registry.kinds import model_chain
from models.registry.state import ModelState
from models.types import ModelVersion

GRACE = timedelta(minutes=5)
"""How long a name stays loaded after the last state that wanted it: longer than any answer takes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """What replicas shall serve."""

    now: Mapping[str, ModelVersion]
    """By adapter name."""
    answering: Collection[str] = ()
    """Names of those that answer users outside any trial: a replica without one of them serves nobody well."""
    lately: Collection[str] = ()
    """Names that some state within the grace period wanted, ``now`` included."""
    models: Collection[str] = ()
    """The ledger's models: what else a replica serves is somebody else's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What one replica lacks and what it no longer needs."""

    loads: tuple[ModelVersion, ...] = ()
    unloads: tuple[str, ...] = ()


def plan(wanted: Wanted, loaded: Collection[str]) -> Plan:
    """What has to be loaded and unloaded where these adapters are loaded."""
    return Plan(
        loads=tuple(version for name, version in wanted.now.items() if name not in loaded),
        unloads=tuple(
            sorted(name for name in loaded if name.partition("@")[0] in wanted.models and name not in wanted.lately)
        ),
    )


def read_wanted(lake: Lake, grace: timedelta = GRACE) -> Wanted:
    """What the ledger wants served now, and what it wanted within the grace period."""
    since = lake.ledger.clock() - grace
    models = [name.removeprefix("models/") for name in lake.ledger.chains("models/")]
    now: dict[str, ModelVersion] = {}
    answering: set[str] = set()
    lately: set[str] = set()
    for model in models:
        for state in _states_since(model, lake.ledger.entries(model_chain(model)), since):
            lately.update(version.adapter_name for version in _wanted_by(state))
            last = state
        now.update({version.adapter_name: version for version in _wanted_by(last)})
        answers = (last.production, last.soak and last.soak.former)
        answering.update(version.adapter_name for version in answers if version)
    return Wanted(now=now, answering=frozenset(answering), lately=frozenset(lately), models=frozenset(models))


def _states_since(model: str, entries: Sequence[Entry], since: datetime) -> Iterator[ModelState]:
    """Each state from the one in force at ``since`` to the present one; one at least."""
    state = ModelState(model=model)
    for entry in entries:
        if entry.time > since:
            yield state
        state = fold(model, [entry], state)
    yield state


def _wanted_by(state: ModelState) -> list[ModelVersion]:
    """The versions that one state wants, each once."""
    some = (
        state.production,
        state.rollout and state.version(state.rollout.version),
        state.soak and state.soak.former,
        state.rollback_target,
    )
    return list({version.name: version for version in some if version}.values())

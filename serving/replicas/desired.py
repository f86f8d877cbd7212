"""The adapters that replicas should serve, folded from each model's chain: now, and in every state of a grace period.

Needed are the versions that routes lead to, the candidate of an open rollout before its first user, and the version
that a roll-back would return to. Time enters only through the entries, so no reader has to remember when a version
stopped being needed.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from lake.lake import Lake
from lake.store.ledger import Entry
from models.registry.fold import fold
from models.registry.kinds import model_chain, model_names
from models.registry.state import ModelState
from models.types import ModelVersion

GRACE = timedelta(minutes=5)
"""How long an adapter stays loaded after the last state that needed it; longer than any answer takes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DesiredState:
    """What replicas should serve."""

    current: Mapping[str, ModelVersion]
    """Versions needed now, by adapter name."""
    answering: Collection[str] = ()
    """Names of the adapters that answer users outside a trial; a replica without one of them is not ready."""
    recent: Collection[str] = ()
    """Names that a state within the grace period needed, including ``current``."""
    models: Collection[str] = ()
    """The models in the ledger; adapters of other models on a replica are left alone."""

    def missing(self, loaded: Collection[str]) -> list[str]:
        """Names that a replica with these adapters has to load."""
        return [name for name in self.current if name not in loaded]

    def superfluous(self, loaded: Collection[str]) -> list[str]:
        """Names that it has to unload."""
        return sorted(name for name in loaded if name.partition("@")[0] in self.models and name not in self.recent)


def read_desired_state(lake: Lake, grace: timedelta = GRACE) -> DesiredState:
    """Read from the ledger what is needed now and what was needed within the grace period."""
    since = lake.ledger.clock() - grace
    models = set(model_names(lake.ledger))
    current: dict[str, ModelVersion] = {}
    answering: set[str] = set()
    recent: set[str] = set()
    for model in models:
        for state in _states_since(model, lake.ledger.entries(model_chain(model)), since):
            recent.update(version.adapter_name for version in _needed_by(state))
            last = state
        current.update({version.adapter_name: version for version in _needed_by(last)})
        users = (last.production, last.soak and last.soak.former)
        answering.update(version.adapter_name for version in users if version)
    return DesiredState(current=current, answering=answering, recent=recent, models=models)


def _states_since(model: str, entries: Sequence[Entry], since: datetime) -> Iterator[ModelState]:
    """Each state from the one in force at ``since`` to the present one; at least one."""
    state = ModelState(model=model)
    for entry in entries:
        if entry.time > since:
            yield state
        state = fold(model, [entry], state)
    yield state


def _needed_by(state: ModelState) -> list[ModelVersion]:
    """The versions that one state needs."""
    candidate = state.rollout and state.version(state.rollout.version)
    needed = (state.production, candidate, state.soak and state.soak.former, state.rollback_target)
    return [version for version in needed if version]

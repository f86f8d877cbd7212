"""What a person decides about a rollout: taking a version back at once, and agreeing to a promotion.

Each is one ledger entry, which the gateways follow within seconds; no server has to be reached. What two people plan at
the same time is done once.
"""

from dataclasses import dataclass

from errors import DataError
from lake.lake import Lake
from models.registry.fold import read_state
from models.registry.kinds import model_chain
from models.registry.registry import find_version
from models.registry.state import ModelState
from models.types import BASE, Outcome, baseline_name
from serving.rollout.plan import closing


@dataclass(frozen=True, kw_only=True, slots=True)
class TakeBack:
    """A roll-back: what is left, what answers instead, and under which key the ledger has it."""

    model: str
    left: str
    back_to: str
    key: str
    rollout: str
    """Key of the rollout that it ends; empty where the version was in production."""

    @property
    def told(self) -> str:
        """Who answers after it, and how to take that back as well: a roll-back goes one step."""
        if self.back_to == BASE:
            return f"{BASE} answers."
        return f"{self.back_to} answers, in production; a second `fuelline rollback {self.model}` takes that back too."


def plan_take_back(lake: Lake, model: str) -> TakeBack:
    """What a roll-back would do now: take back an open canary's candidate, or what is in production.

    A rollout in its shadow has no user. It ends only where nothing is in production; elsewhere a production that is
    taken back voids it, since it was judged against that.

    Raises:
        DataError: there is nothing to go back to.
    """
    state = read_state(lake.ledger, model)
    if state.rollout and (state.rollout.share > 0 or state.production is None):
        left = f"{model}@v{state.rollout.version}"
        return TakeBack(
            model=model,
            left=left,
            back_to=baseline_name(state.production),
            key=closing(state.rollout.key),
            rollout=state.rollout.key,
        )
    return _out_of_production(state)


def take_back(lake: Lake, planned: TakeBack, *, reason: str, by: str) -> None:
    """Do it.

    Raises:
        DataError: the rollout was closed otherwise in the meantime; look again.
    """
    number = int(planned.left.rpartition("@v")[2])
    payload = {"version": number, "baseline": planned.back_to, "rollout": planned.rollout, "reason": reason, "by": by}
    entry = lake.ledger.append(model_chain(planned.model), Outcome.ROLLED_BACK.value, planned.key, payload)
    if entry.kind != Outcome.ROLLED_BACK.value:
        raise DataError(
            f"{planned.left}: its rollout has just ended as {entry.kind}; look at `fuelline status` and ask again"
        )


def approve(lake: Lake, name: str, *, reason: str, by: str) -> None:
    """Agree to the promotion of this version (``agents@v3``): the one whose answers the person has seen, and no other.

    Raises:
        UnknownName: it is not registered.
        DataError: its rollout is not open, or it has met no user yet.
    """
    version = find_version(lake.ledger, name)
    rollout = read_state(lake.ledger, version.model).rollout
    if rollout is None or rollout.version != version.version:
        now = f"that of {version.model}@v{rollout.version} is" if rollout else "none is"
        raise DataError(f"no rollout of {name} is open ({now}), so there is nothing to approve")
    if rollout.share == 0:
        raise DataError(f"{name} has met no user yet, so nobody can know its answers; approve it later")
    payload = {"version": rollout.version, "rollout": rollout.key, "reason": reason, "by": by}
    lake.ledger.append(model_chain(version.model), "promotion_approved", f"{rollout.key}:approved", payload)


def _out_of_production(state: ModelState) -> TakeBack:
    if state.production is None or state.since is None:
        raise DataError(f"nothing to roll back: no rollout of {state.model} is open and {state.baseline} answers")
    return TakeBack(
        model=state.model,
        left=state.production.name,
        back_to=baseline_name(state.rollback_target),
        key=f"rolled_back:{state.production.name}:{state.since.isoformat()}",
        rollout=state.soak.key if state.soak else "",
    )

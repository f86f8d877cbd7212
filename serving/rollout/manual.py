"""What a person decides about a rollout: an immediate rollback, and the approval of a promotion.

Each is one ledger entry, which the gateways follow within seconds; no server has to be reached. What two people plan at
the same time is done once.
"""

from dataclasses import dataclass

from errors import DataError
from lake.lake import Lake
from models.registry import kinds
from models.registry.fold import read_state
from models.registry.kinds import model_chain
from models.registry.registry import find_version
from models.types import BASE, baseline_name
from serving.rollout.plan import closing_key


@dataclass(frozen=True, kw_only=True, slots=True)
class Rollback:
    """A planned rollback."""

    model: str
    from_version: str
    """The version that is taken back: ``agents@v3``."""
    to_version: str
    """What answers after it: ``agents@v2`` or ``base``."""
    key: str
    """Of its ledger entry."""
    rollout: str
    """Key of the rollout that it ends; empty where the version was in production."""

    @property
    def effect(self) -> str:
        """What answers after it, and how to roll that back as well: a rollback goes one step."""
        if self.to_version == BASE:
            return f"{BASE} answers."
        again = f"a second `fuelline rollback {self.model}` takes that back too"
        return f"{self.to_version} answers, in production; {again}."


def plan_rollback(lake: Lake, model: str) -> Rollback:
    """What a rollback would do now: end an open canary, or take back the version in production.

    A rollout in its shadow has no user. It is ended only where nothing is in production; otherwise the production is
    taken back, which voids the rollout, since its candidate was evaluated against that version. Raises ``DataError``
    where there is nothing to roll back.
    """
    state = read_state(lake.ledger, model)
    if state.rollout and (state.rollout.share > 0 or state.production is None):
        return Rollback(
            model=model,
            from_version=f"{model}@v{state.rollout.version}",
            to_version=baseline_name(state.production),
            key=closing_key(state.rollout.key),
            rollout=state.rollout.key,
        )
    if state.production is None or state.since is None:
        raise DataError(f"nothing to roll back: no rollout of {model} is open and {state.baseline} answers")
    return Rollback(
        model=model,
        from_version=state.production.name,
        to_version=baseline_name(state.rollback_target),
        key=f"rolled_back:{state.production.name}:{state.since.isoformat()}",
        rollout=state.soak.key if state.soak else "",
    )


def roll_back(lake: Lake, planned: Rollback, *, reason: str, by: str) -> None:
    """Append the rollback. Raises ``DataError`` where the rollout has ended in another way since it was planned."""
    number = int(planned.from_version.rpartition("@v")[2])
    named = {"version": number, "baseline": planned.to_version, "rollout": planned.rollout}
    payload = {**named, "reason": reason, "by": by}
    entry = lake.ledger.append(model_chain(planned.model), kinds.ROLLED_BACK, planned.key, payload)
    if entry.kind != kinds.ROLLED_BACK:
        raise DataError(
            f"{planned.from_version}: its rollout has just ended as {entry.kind}; see `fuelline status`, then run the "
            "command again if it is still needed"
        )


def approve(lake: Lake, name: str, *, reason: str, by: str) -> None:
    """Approve the promotion of this version (``agents@v3``), and of no other.

    Raises ``DataError`` where its rollout is not open, or it has had no user yet.
    """
    version = find_version(lake.ledger, name)
    rollout = read_state(lake.ledger, version.model).rollout
    if rollout is None or rollout.version != version.version:
        now = f"that of {version.model}@v{rollout.version} is" if rollout else "none is"
        raise DataError(f"no rollout of {name} is open ({now}), so there is nothing to approve")
    if rollout.share == 0:
        raise DataError(f"{name} has had no user yet, so nobody has seen its answers; approve it later")
    payload = {"version": rollout.version, "rollout": rollout.key, "reason": reason, "by": by}
    key = f"{rollout.key}:approved"
    lake.ledger.append(model_chain(version.model), kinds.PROMOTION_APPROVED, key, payload)

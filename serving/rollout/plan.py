"""A rollout's plan and name: what its steps need, stored in the ledger when the rollout is opened or queued."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from errors import DataError
from lake.lake import Lake
from lake.store.ledger import Entry
from models.registry.kinds import model_chain
from models.serialize import from_plain, to_plain
from models.spec import TrainingProfile
from models.types import ModelVersion
from serving.policy import CanaryRule
from serving.statistics.shadow_test import ShadowRule


@dataclass(frozen=True, kw_only=True, slots=True)
class RolloutPlan:
    """Everything that decides a rollout beside the evidence. The ledger stores it under these field names."""

    version: int
    baseline: str
    """What the candidate was evaluated against: ``agents@v3`` or ``base``."""
    rule: ShadowRule
    canary: CanaryRule
    profile: TrainingProfile
    live: bool = False
    """Whether a replica served live traffic where the rollout was opened: then the shadow alone never promotes."""

    @property
    def digest(self) -> str:
        """Digest of everything in it that changes the verdict: under another rule it is another rollout."""
        sizes = [self.profile.shadow_requests, self.profile.shadow_generations, self.profile.max_new_tokens]
        parts = [to_plain(self.rule), to_plain(self.canary), *sizes]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


@dataclass(frozen=True, kw_only=True, slots=True)
class RolloutId:
    """One rollout, as its ledger entries name it."""

    version: ModelVersion
    """The candidate."""
    baseline: str
    """What it was evaluated against, and what answers after a rollback: ``agents@v3`` or ``base``."""
    key: str

    @property
    def chain(self) -> str:
        """The ledger chain of the model."""
        return model_chain(self.version.model)

    def payload(self, reason: str, **more: Any) -> dict[str, Any]:
        """The payload of an entry about this rollout."""
        named = {"version": self.version.version, "baseline": self.baseline, "rollout": self.key, "reason": reason}
        return named | more


def closing_key(key: str) -> str:
    """Key of the entry that ends a rollout: there is one, whoever writes it."""
    return f"{key}:closed"


def shadow_key(key: str) -> str:
    """Key of the entry by which a rollout's shadow lets the candidate go on to its users."""
    return f"{key}:shadow"


def plan_of(lake: Lake, model: str, key: str) -> RolloutPlan:
    """The plan of a rollout that was opened; one written before there was a canary gets the rule's defaults.

    Raises ``DataError`` where there is no such rollout.
    """
    opened = lake.ledger.find(model_chain(model), key)
    if opened is None:
        raise DataError(f"no rollout {key!r} of {model} was opened; `fuelline history {model}` lists those that were")
    return from_plain(RolloutPlan, {"canary": {}, "live": False} | plan_fields(opened))


def plan_fields(entry: Entry) -> dict[str, Any]:
    """The plan that an opening or queueing entry holds, as plain JSON."""
    return {name: entry.payload[name] for name in RolloutPlan.__dataclass_fields__ if name in entry.payload}

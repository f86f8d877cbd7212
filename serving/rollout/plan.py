"""A rollout's plan: all that its steps need, fixed in the ledger when it is opened or put in the queue."""

import hashlib
import json
from dataclasses import dataclass

from errors import DataError
from lake.lake import Lake
from lake.store.ledger import Entry
from models.registry.kinds import model_chain
from models.serialize import from_plain, to_plain
from models.spec import TrainingProfile
from models.types import ModelVersion, baseline_name
from serving.policy import CanaryRule
from serving.statistics.shadow_test import ShadowRule


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What decides a rollout beside the evidence."""

    version: int
    baseline: str
    """What the candidate was judged against: ``agents@v3`` or ``base``."""
    rule: ShadowRule
    canary: CanaryRule
    profile: TrainingProfile
    live: bool = False
    """Whether something served live traffic where it was opened: then no shadow alone promotes."""


def key_of(version: ModelVersion, baseline: ModelVersion | None, plan: Plan) -> str:
    """Version, baseline and all that changes the verdict: under another rule it is another rollout."""
    sizes = [plan.profile.shadow_requests, plan.profile.shadow_generations, plan.profile.max_new_tokens]
    parts = [to_plain(plan.rule), to_plain(plan.canary), *sizes]
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]
    return f"rollout:{version.name}:{baseline_name(baseline)}:{digest}"


def closing(key: str) -> str:
    """Key of the entry that ends a rollout: there is one, whoever writes it."""
    return f"{key}:closed"


def passing(key: str) -> str:
    """Key of the entry by which a rollout's shadow lets the candidate go on to its users."""
    return f"{key}:shadow"


def plan_of(lake: Lake, model: str, key: str) -> Plan:
    """The plan of a rollout that was opened.

    Raises:
        DataError: there is no such rollout.
    """
    opened = lake.ledger.find(model_chain(model), key)
    if opened is None:
        raise DataError(f"no rollout {key!r} of {model} was ever opened")
    return read_plan(opened)


def read_plan(entry: Entry) -> Plan:
    """The plan that an entry holds; one written before there was a canary gets the rule's defaults."""
    plain = {"canary": {}, "live": False, **entry.payload}
    return from_plain(Plan, {name: plain[name] for name in Plan.__dataclass_fields__})

"""What one retraining is made from, fixed before it starts: table versions, data cut, baseline, and the cause.

The first pin of the same data, spec, profile and rules stands, in the ledger. A retraining that died goes on from it,
with the same baseline; one that has ended is not begun again.
"""

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from errors import DataError
from features.batch.schedule import newest
from lake.contracts import contract
from lake.lake import Lake
from lake.quality.score import QualityGate, QualityReport, quality_report
from lake.tables.versions import TableVersion
from models.data.training_set import build_training_set
from models.llm.code_version import JUDGING_CODE, TRAINING_CODE, code_digest
from models.registry import kinds
from models.registry.fold import read_state
from models.registry.training_lease import Claim
from models.serialize import from_plain, to_plain
from models.spec import ModelSpec, TrainingProfile
from models.types import UNKNOWN_CAUSE, Cause, TrainingSet

log = logging.getLogger("fuelline.retraining")


@dataclass(frozen=True, kw_only=True, slots=True)
class Pinned:
    """The inputs of one retraining."""

    model: str
    retraining: str
    """Key of this retraining: digest of the pinned versions, the spec, the profile, the rules and the code."""
    interactions: TableVersion
    user_features: TableVersion
    agent_features: TableVersion
    feedback: list[TableVersion]
    """None or one version of the late thumbs."""
    infrastructure_features: list[TableVersion] = field(default_factory=list)
    """None or one version. It is no part of the key: clusters are measured every hour, whether or not anybody asked
    the agents anything, and that alone is no reason to train again."""
    cut: datetime
    """Everything before it is in (UTC): just after the newest pinned interaction."""
    baseline: str
    """``agents@v3`` or ``base``: what was in production when it was pinned."""
    cause: Cause = UNKNOWN_CAUSE
    """Why it was started."""


def pin_base(lake: Lake, spec: ModelSpec) -> ModelSpec:
    """The spec with its base named, from the setting where it leaves it open: what changes a result is an input."""
    return replace(spec, base=spec.base or lake.settings.base_model)


def pin(
    lake: Lake,
    spec: ModelSpec,
    profile: TrainingProfile,
    cause: Cause,
    rules: Sequence[object] = (),
    *,
    claim: Claim,
) -> tuple[Pinned, bool]:
    """Fix the inputs; say whether there is work to do: the claim is granted, and this very retraining has not ended.

    ``rules`` are the dataclasses that decide beside the data: with other ones, or with other code that trains or
    judges, it is another retraining. Where there is work, the ledger has an entry under the claim's number afterwards,
    so that an earlier holder of the lease writes nothing more.

    Raises:
        DataError: the interactions or their features are not there yet.
        LeaseLost: a later holder has written to the model's chain.
    """
    interactions, users, agents = (
        _current(lake, name) for name in ("processed.agent_interactions", "ml.user_features", "ml.agent_features")
    )
    feedback = lake.tables.current(contract("processed.agent_feedback"))
    infrastructure = lake.tables.current(contract("ml.infrastructure_features"))
    versions = [interactions, users, agents, *([feedback] if feedback else [])]
    code = code_digest(*TRAINING_CODE, *JUDGING_CODE)
    decides = [to_plain(rule) for rule in (spec, profile, *rules)]
    key = _digest([str(version) for version in versions], decides, code)
    where = kinds.model_chain(spec.name)
    pinned = Pinned(
        model=spec.name,
        retraining=key,
        interactions=interactions,
        user_features=users,
        agent_features=agents,
        feedback=[feedback] if feedback else [],
        infrastructure_features=[infrastructure] if infrastructure else [],
        cut=newest(lake, interactions),
        baseline=read_state(lake.ledger, spec.name).baseline,
        cause=cause,
    )
    if not claim.granted or lake.ledger.find(where, kinds.closed_key(key)):
        return _as_opened(lake, pinned), False
    opened = lake.ledger.append(where, kinds.RETRAINING_OPENED, kinds.opened_key(key), to_plain(pinned))
    if opened.fence != claim.fence:
        resumed = {"retraining": key, "request": cause.request}
        lake.ledger.append(where, kinds.RETRAINING_RESUMED, kinds.resumed_key(key, claim.fence), resumed)
    return from_plain(Pinned, opened.payload), True


def _as_opened(lake: Lake, pinned: Pinned) -> Pinned:
    """What the first pin of this retraining fixed, where there was one."""
    found = lake.ledger.find(kinds.model_chain(pinned.model), kinds.opened_key(pinned.retraining))
    return from_plain(Pinned, found.payload) if found else pinned


def pin_training_set(lake: Lake, spec: ModelSpec) -> TrainingSet:
    """The training set of what is in the lake now, for work that judges no candidate; equal versions, equal set.

    Raises:
        DataError: the interactions or their features are not there yet, or too few.
    """
    interactions, users, agents = (
        _current(lake, name) for name in ("processed.agent_interactions", "ml.user_features", "ml.agent_features")
    )
    return build_training_set(
        lake,
        model=spec.name,
        interactions=interactions,
        feedback=lake.tables.current(contract("processed.agent_feedback")),
        user_features=users,
        agent_features=agents,
        infrastructure_features=lake.tables.current(contract("ml.infrastructure_features")),
        cut=newest(lake, interactions),
        agents=spec.agents,
        feature_service=spec.features,
    )


def quality_since_training(lake: Lake, pinned: Pinned, source: str, gate: QualityGate) -> QualityReport:
    """The quality of what landed since the last training, or ever where nothing landed since.

    Raises:
        DataError: the source never landed anything, so that nothing vouches for the pinned rows.
    """
    data_set = contract(pinned.interactions.table)
    trained = lake.ledger.entries(kinds.model_chain(pinned.model), kind=kinds.TRAINED)
    report = quality_report(lake, data_set, source, since=trained[-1].time if trained else None, gate=gate)
    if not report.objects:
        report = quality_report(lake, data_set, source, gate=gate)
    if not report.objects:
        raise DataError(f"source {source!r} landed nothing in {data_set.name}: name the source that did")
    return report


def _current(lake: Lake, name: str) -> TableVersion:
    version = lake.tables.current(contract(name))
    if version is None:
        raise DataError(f"{name} holds nothing yet; ingest interactions and compute features first")
    return version


def _digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]

"""Fix the inputs of a retraining before it starts: table versions, data cut, baseline, and cause.

Of the same data, spec, profile and rules the ledger keeps the first pinned inputs. A retraining that died continues
with them, with the same baseline; one that has ended is not started again.
"""

import hashlib
import json
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
    """None or one version of the ratings that came after their interactions."""
    infrastructure_features: list[TableVersion] = field(default_factory=list)
    """None or one version. Not part of the key: clusters are measured every hour, also without any interaction, and
    that alone is no reason to train again."""
    cut: datetime
    """Data cut (UTC): everything before it is used; just after the newest pinned interaction."""
    baseline: str
    """``agents@v3`` or ``base``: what was in production when the inputs were pinned."""
    cause: Cause = UNKNOWN_CAUSE


def pin_base(lake: Lake, spec: ModelSpec) -> ModelSpec:
    """The spec with its base model named, from the setting if the spec has none: what changes a result is an input."""
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
    """Fix the inputs of a retraining, and say whether there is work to do.

    There is work if the claim is granted and this same retraining has not ended before. Then the ledger has an entry
    with the claim's fence afterwards, so that an earlier holder of the lease cannot write any more.

    Besides the data, ``rules`` (dataclasses) and the code that trains and evaluates decide: with others it is another
    retraining. Raises ``DataError`` where there are no interactions or no features of them, and ``LeaseLost`` where a
    later holder has written to the model's chain.
    """
    pinned = _current_inputs(lake, spec)
    tables = [pinned.interactions, pinned.user_features, pinned.agent_features, *pinned.feedback]
    decides = [to_plain(rule) for rule in (spec, profile, *rules)]
    parts = ([str(version) for version in tables], decides, code_digest(*TRAINING_CODE, *JUDGING_CODE))
    key = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]
    pinned = replace(pinned, retraining=key, cause=cause)
    chain, opened_key = kinds.model_chain(spec.name), f"retraining:{key}"
    if not claim.granted or lake.ledger.find(chain, kinds.closed_key(key)):
        opened = lake.ledger.find(chain, opened_key)
        return (from_plain(Pinned, opened.payload) if opened else pinned), False
    opened = lake.ledger.append(chain, kinds.RETRAINING_OPENED, opened_key, to_plain(pinned))
    if opened.fence != claim.fence:
        resumed = {"retraining": key, "request": cause.request}
        lake.ledger.append(chain, kinds.RETRAINING_RESUMED, f"resumed:{key}:{claim.fence}", resumed)
    return from_plain(Pinned, opened.payload), True


def pin_training_set(lake: Lake, spec: ModelSpec) -> TrainingSet:
    """The training set of the current table versions, for work without a candidate; equal versions, equal set."""
    pinned = _current_inputs(lake, spec)
    return build_training_set(
        lake,
        model=pinned.model,
        interactions=pinned.interactions,
        feedback=next(iter(pinned.feedback), None),
        user_features=pinned.user_features,
        agent_features=pinned.agent_features,
        infrastructure_features=next(iter(pinned.infrastructure_features), None),
        cut=pinned.cut,
        agents=spec.agents,
        feature_service=spec.features,
    )


def _current_inputs(lake: Lake, spec: ModelSpec) -> Pinned:
    """The present inputs, of no retraining yet."""
    interactions = _current(lake, "processed.agent_interactions")
    feedback = lake.tables.current(contract("processed.agent_feedback"))
    infrastructure = lake.tables.current(contract("ml.infrastructure_features"))
    return Pinned(
        model=spec.name,
        retraining="",
        interactions=interactions,
        user_features=_current(lake, "ml.user_features"),
        agent_features=_current(lake, "ml.agent_features"),
        feedback=[feedback] if feedback else [],
        infrastructure_features=[infrastructure] if infrastructure else [],
        cut=newest(lake, interactions),
        baseline=read_state(lake.ledger, spec.name).baseline,
    )


def _current(lake: Lake, name: str) -> TableVersion:
    version = lake.tables.current(contract(name))
    if version is None:
        raise DataError(f"{name} is empty; ingest interactions and compute features first")
    return version


def quality_since_training(lake: Lake, pinned: Pinned, source: str, gate: QualityGate) -> QualityReport:
    """The quality of the objects that landed since the last training; of all objects if none landed since.

    Objects of all sources count, unless one is named. Raises ``DataError`` where none ever landed any.
    """
    data_set = contract(pinned.interactions.table)
    trained = lake.ledger.entries(kinds.model_chain(pinned.model), kind=kinds.TRAINED)
    report = quality_report(lake, data_set, source, gate, since=trained[-1].time if trained else None)
    if not report.objects:
        report = quality_report(lake, data_set, source, gate)
    if not report.objects:
        missing = f"source {source!r} has landed nothing in {data_set.name}; name one that has, or none for all of them"
        raise DataError(missing if source else f"nothing has landed in {data_set.name}; ingest first")
    return report

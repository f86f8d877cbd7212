"""What one retraining is made from, fixed before it starts: table versions, data cut, baseline, and the cause.

The first pin of the same data, spec, profile and rules stands, in the ledger. A retraining that died goes on from it,
with the same baseline; one that has ended is not begun again.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from errors import DataError
from features.schedule import newest
from lake.contracts import contract
from lake.lake import Lake
from lake.ledger import Entry
from lake.quality import QualityGate, QualityReport, quality_report
from lake.versions import TableVersion
from models.code import JUDGING_CODE, TRAINING_CODE, code_digest
from models.records import from_plain, to_plain
from models.spec import ModelSpec, TrainingProfile
from models.state import BASE, chain, read_state
from models.types import ModelVersion, Outcome, TrainedAdapter, Verdict


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
    cut: datetime
    """Everything before it is in (UTC): just after the newest pinned interaction."""
    baseline: str
    """``agents@v3`` or ``base``: what was in production when it was pinned."""
    reason: str
    """What caused it, for example ``by hand`` or ``schedule``."""


def pin_base(lake: Lake, spec: ModelSpec) -> ModelSpec:
    """The spec with its base named, from the setting where it leaves it open: what changes a result is an input."""
    return replace(spec, base=spec.base or lake.settings.base_model)


def pin(
    lake: Lake,
    spec: ModelSpec,
    profile: TrainingProfile,
    reason: str,
    rules: Sequence[object] = (),
) -> tuple[Pinned, bool]:
    """Fix the inputs; say whether there is work to do, which there is not where this very retraining has ended.

    ``rules`` are the dataclasses that decide beside the data: with other ones, or with other code that trains or
    judges, it is another retraining.

    Raises:
        DataError: the interactions or their features are not there yet.
    """
    interactions, users, agents = (
        _current(lake, name) for name in ("processed.agent_interactions", "ml.user_features", "ml.agent_features")
    )
    feedback = lake.tables.current(contract("processed.agent_feedback"))
    versions = [interactions, users, agents, *([feedback] if feedback else [])]
    code = code_digest(*TRAINING_CODE, *JUDGING_CODE)
    decides = [to_plain(rule) for rule in (spec, profile, *rules)]
    key = _digest([str(version) for version in versions], decides, code)
    where = chain(spec.name)
    found = lake.ledger.find(where, f"retraining:{key}")
    if found is None:
        pinned = Pinned(
            model=spec.name,
            retraining=key,
            interactions=interactions,
            user_features=users,
            agent_features=agents,
            feedback=[feedback] if feedback else [],
            cut=newest(lake, interactions),
            baseline=read_state(lake.ledger, spec.name).baseline,
            reason=reason,
        )
        found = lake.ledger.append(where, "retraining_opened", f"retraining:{key}", to_plain(pinned))
    return from_plain(Pinned, found.payload), lake.ledger.find(where, _closing(key)) is None


def baseline_of(lake: Lake, pinned: Pinned) -> ModelVersion | None:
    """The version that the candidate has to beat; None for the base model."""
    from models.registry import find_version

    return None if pinned.baseline == BASE else find_version(lake.ledger, pinned.baseline)


def quality_since_training(lake: Lake, pinned: Pinned, source: str, gate: QualityGate) -> QualityReport:
    """The quality of what landed since the last training, or ever where nothing landed since.

    Raises:
        DataError: the source never landed anything, so that nothing vouches for the pinned rows.
    """
    data_set = contract(pinned.interactions.table)
    trained = lake.ledger.entries(chain(pinned.model), kind="trained")
    report = quality_report(lake, data_set, source, since=trained[-1].time if trained else None, gate=gate)
    if not report.objects:
        report = quality_report(lake, data_set, source, gate=gate)
    if not report.objects:
        raise DataError(f"source {source!r} landed nothing in {data_set.name}: name the source that did")
    return report


def record_trained(lake: Lake, adapter: TrainedAdapter) -> Entry:
    """Write down that a training is complete: from its cut on, data are new."""
    data = adapter.training_set
    return lake.ledger.append(
        chain(adapter.model),
        "trained",
        f"trained:{adapter.training_key}",
        {
            "training_key": adapter.training_key,
            "training_set_id": data.training_set_id,
            "cut": data.cut.isoformat(),
            "inputs": [str(version) for version in (*data.inputs, data.table)],
            "adapter_digest": adapter.digest,
            "path": adapter.path,
            "steps": adapter.steps,
            "train_loss": adapter.train_loss,
            "base_digest": adapter.base_digest,
        },
    )


def close(lake: Lake, pinned: Pinned, verdict: Verdict) -> Verdict:
    """Write down how the retraining ended: the same inputs will not be trained on again."""
    lake.ledger.append(chain(pinned.model), "retraining_closed", _closing(pinned.retraining), to_plain(verdict))
    return verdict


def nothing_new(lake: Lake, pinned: Pinned) -> Verdict:
    """The verdict of a retraining that ended before, told again as nothing new."""
    ended = lake.ledger.find(chain(pinned.model), _closing(pinned.retraining))
    if ended is None:
        raise DataError(f"retraining {pinned.retraining} of {pinned.model} has not ended yet")
    before = from_plain(Verdict, ended.payload)
    return replace(
        before,
        outcome=Outcome.NOTHING_NEW,
        reason=f"Nothing new since {pinned.cut.isoformat()}; the last time: {before.outcome.value}. {before.reason}",
        entry=ended.digest,
    )


def record_failure(lake: Lake, model: str, *, stage: str, execution: str) -> Entry:
    """Write down that a retraining failed. The error's text stays out of the ledger, because it may quote data."""
    payload = {"stage": stage, "execution": execution, "baseline": read_state(lake.ledger, model).baseline or BASE}
    return lake.ledger.append(chain(model), "retraining_failed", f"failed:{execution}", payload)


def _current(lake: Lake, name: str) -> TableVersion:
    version = lake.tables.current(contract(name))
    if version is None:
        raise DataError(f"{name} holds nothing yet; ingest interactions and compute features first")
    return version


def _closing(key: str) -> str:
    return f"retraining-closed:{key}"


def _digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]

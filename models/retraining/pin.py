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
from lake.maintenance.expiry import COUNTED_FROM
from lake.quality.score import QualityGate, QualityReport, quality_report
from lake.store.ledger import Entry
from lake.tables.versions import TableVersion
from models.data.training_set import build_training_set
from models.llm.code_version import JUDGING_CODE, TRAINING_CODE, code_digest
from models.registry.kinds import CLOSING
from models.registry.state import BASE, chain, read_state
from models.registry.training_lease import Claim, give_back, holder_of
from models.serialize import from_plain, to_plain
from models.spec import ModelSpec, TrainingProfile
from models.types import BY_HAND, Cause, ModelVersion, Outcome, TrainedAdapter, TrainingSet, Verdict

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
    cause: Cause = BY_HAND
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
    where = chain(spec.name)
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
    if not claim.granted or lake.ledger.find(where, _closing(key)):
        return _as_opened(lake, pinned), False
    opened = lake.ledger.append(where, "retraining_opened", _opening(key), to_plain(pinned))
    if opened.fence != claim.fence:
        resumed = {"retraining": key, "request": cause.request}
        lake.ledger.append(where, "retraining_resumed", f"resumed:{key}:{claim.fence}", resumed)
    return from_plain(Pinned, opened.payload), True


def _as_opened(lake: Lake, pinned: Pinned) -> Pinned:
    """What the first pin of this retraining fixed, where there was one."""
    found = lake.ledger.find(chain(pinned.model), _opening(pinned.retraining))
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


def baseline_of(lake: Lake, pinned: Pinned) -> ModelVersion | None:
    """The version that the candidate has to beat; None for the base model."""
    from models.registry.registry import find_version

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


def record_trained(lake: Lake, adapter: TrainedAdapter, pinned: Pinned) -> Entry:
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
            "retraining": pinned.retraining,
            "cause": to_plain(pinned.cause),
        },
    )


def close(lake: Lake, pinned: Pinned, verdict: Verdict, claim: Claim) -> Verdict:
    """Write down how the retraining ended: the same inputs will not be trained on again. Gives the lease back."""
    payload = to_plain(verdict) | {"request": pinned.cause.request, "also": _resumed_by(lake, pinned)}
    lake.ledger.append(chain(pinned.model), "retraining_closed", _closing(pinned.retraining), payload)
    give_back(lake, claim.model, claim.holder)
    return verdict


def count_from(lake: Lake, pinned: Pinned) -> None:
    """Keep from expiry what the triggers count new rows from, once this retraining has ended."""
    lake.tables.tag(pinned.interactions, f"{COUNTED_FROM}{pinned.model}", move=True)


def _resumed_by(lake: Lake, pinned: Pinned) -> list[int]:
    """Requests whose runs went on with a retraining that another had begun."""
    resumed = lake.ledger.entries(chain(pinned.model), kind="retraining_resumed")
    return [int(e.payload["request"]) for e in resumed if e.payload["retraining"] == pinned.retraining]


def no_work(lake: Lake, pinned: Pinned, cause: Cause, claim: Claim) -> Verdict:
    """Say why there was no work: another run is training, or the very same retraining ended before."""
    if not claim.granted:
        return _covered(lake, pinned, cause, claim)
    give_back(lake, claim.model, claim.holder)
    ended = lake.ledger.find(chain(pinned.model), _closing(pinned.retraining))
    if ended is None:
        raise DataError(f"retraining {pinned.retraining} of {pinned.model} has not ended yet")
    before = from_plain(Verdict, ended.payload)
    became, why = _became(lake, before)
    reason = f"Nothing new since {pinned.cut.isoformat()}; the last time: {became.replace('_', ' ')}. {why}"
    _end_request(lake, pinned.model, cause, Outcome.NOTHING_NEW, reason)
    return replace(before, outcome=Outcome.NOTHING_NEW, reason=reason, entry=ended.digest)


def _became(lake: Lake, verdict: Verdict) -> tuple[str, str]:
    """How a retraining ended, its rollout included where that has ended by now; and why."""
    ends = (entry for entry in reversed(lake.ledger.entries(chain(verdict.model))) if entry.kind in CLOSING)
    closed = next((entry for entry in ends if entry.payload["version"] == verdict.version), None)
    if verdict.outcome is Outcome.ROLLING_OUT and closed:
        return closed.kind, str(closed.payload["reason"])
    return verdict.outcome.value, verdict.reason


def _covered(lake: Lake, pinned: Pinned, cause: Cause, claim: Claim) -> Verdict:
    held = holder_of(lake, pinned.model)
    running = f"run {held.holder}, whose lease lasts until {held.expires:%Y-%m-%d %H:%M:%S} UTC" if held else "a run"
    reason = f"Another training of {pinned.model} is under way: {running}. Nothing was started; ask again after it."
    _end_request(lake, pinned.model, cause, Outcome.COVERED, reason)
    log.warning("%s", reason)
    return Verdict(model=pinned.model, outcome=Outcome.COVERED, version=0, reason=reason, entry="")


def _end_request(lake: Lake, model: str, cause: Cause, outcome: Outcome, reason: str) -> None:
    """A request that led to no training of its own is done all the same."""
    if cause.request:
        payload = {"request": cause.request, "outcome": outcome.value, "reason": reason}
        lake.ledger.append(chain(model), "request_ended", f"request-ended:{cause.request}", payload)


def record_failure(lake: Lake, model: str, cause: Cause, *, stage: str, execution: str) -> Entry:
    """Write down that a retraining failed, and give its lease back. The error's text stays out of the ledger, because
    it may quote data. A run that neither holds the model nor was asked for counts for nothing.
    """
    state, held = read_state(lake.ledger, model), holder_of(lake, model)
    mine = held is not None and held.holder == execution
    asked = state.request is not None and state.request.number == cause.request
    payload = {"stage": stage, "execution": execution, "baseline": state.baseline, "request": cause.request}
    key = f"failed:{execution}:{held.fence if held and mine else 0}:{cause.request}"
    entry = lake.ledger.append(chain(model), "retraining_failed", key, payload | {"counts": mine or asked})
    give_back(lake, model, execution)
    return entry


def _current(lake: Lake, name: str) -> TableVersion:
    version = lake.tables.current(contract(name))
    if version is None:
        raise DataError(f"{name} holds nothing yet; ingest interactions and compute features first")
    return version


def _opening(key: str) -> str:
    return f"retraining:{key}"


def _closing(key: str) -> str:
    return f"retraining-closed:{key}"


def _digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]

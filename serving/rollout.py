"""A rollout: opened when its candidate is registered, then advanced one idempotent step at a time until it is closed.

Retraining ends when the rollout is opened, so no pod waits for what may take days. Each step reads where the rollout
stands from the ledger, does the work that is due, and writes what came of it under a key: killed in the middle it does
its work again, and of two schedulers one is heard. With no live serving the shadow is the only step, and closes it.
"""

import hashlib
import json
import logging
from typing import Any

from errors import DataError
from lake.lake import Lake
from lake.ledger import Entry
from models.pair import name_of
from models.records import from_plain, to_plain
from models.registry import find_version, load_version
from models.spec import TrainingProfile
from models.state import BASE, Rollout, chain, fold, read_state
from models.types import ModelVersion, Outcome, Verdict
from serving.harm import ShadowRule, decide
from serving.shadow import compare

log = logging.getLogger("fuelline.rollout")

ENDS_HERE = "With no live serving configured the rollout ends here."


def open_rollout(
    lake: Lake, version: ModelVersion, baseline: ModelVersion | None, profile: TrainingProfile, rule: ShadowRule
) -> Verdict:
    """Open the rollout of a registered version, with all that its steps will need.

    A rollout that an earlier candidate left open is superseded. Asked again, it says how the first one stands.

    Args:
        lake: where the ledger is.
        version: the candidate.
        baseline: what it was judged against; None for the base model.
        profile: how many requests the shadow compares.
        rule: what counts as harm.
    """
    where, key = chain(version.model), _key(version, baseline, profile, rule)
    if closed := lake.ledger.find(where, _closing(key)):
        return _verdict(lake, version, closed)
    if late := _overtaken(lake, version.model, version.name, name_of(baseline)):
        return _close(lake, version, key, name_of(baseline), Outcome.INCONCLUSIVE, late, {})
    _supersede(lake, version)
    payload = {"version": version.version, "baseline": name_of(baseline)}
    opened = lake.ledger.append(
        where, "rollout_opened", key, payload | {"rule": to_plain(rule), "profile": to_plain(profile)}
    )
    reason = f"{version.name} is registered and its rollout against {name_of(baseline)} is open."
    return Verdict(
        model=version.model,
        outcome=Outcome.ROLLING_OUT,
        version=version.version,
        reason=reason,
        entry=opened.digest,
    )


def open_rollouts(lake: Lake) -> list[str]:
    """Names of the versions whose rollout is open, such as ``agents@v3``; a model has one at most."""
    models = [name.removeprefix("models/") for name in lake.ledger.chains("models/")]
    states = [read_state(lake.ledger, model) for model in models]
    return [f"{state.model}@v{state.rollout.version}" for state in states if state.rollout]


def advance(lake: Lake, name: str) -> Verdict:
    """Take the rollout of this version one step further; the verdict of a closed one is told again.

    A promotion is void unless the baseline is still in production at the moment it is written.

    Raises:
        UnknownName: the version is not registered.
        TamperedArtifact: a file of the version is not what was registered.
        DataError: no rollout of it was ever opened.
    """
    version = find_version(lake.ledger, name)
    rollout = read_state(lake.ledger, version.model).rollout
    if rollout is None or rollout.version != version.version:
        if closed := _last_closed(lake, version):
            return _verdict(lake, version, closed)
        raise DataError(f"no rollout of {name} is open; a retraining opens one when it registers a version")
    return _shadow(lake, version, rollout)


def _shadow(lake: Lake, version: ModelVersion, rollout: Rollout) -> Verdict:
    """The shadow: compare, decide, close."""
    if late := _overtaken(lake, version.model, version.name, rollout.baseline):
        return _close(lake, version, rollout.key, rollout.baseline, Outcome.INCONCLUSIVE, late, {})
    opened = lake.ledger.find(chain(version.model), rollout.key)
    assert opened is not None, "the fold took the key from this entry"
    rule = from_plain(ShadowRule, opened.payload["rule"])
    profile = from_plain(TrainingProfile, opened.payload["profile"])
    baseline = None if rollout.baseline == BASE else find_version(lake.ledger, rollout.baseline)
    spec = load_version(lake, version.name).spec
    evidence = compare(lake, version, spec, profile, baseline, rule)
    outcome, reason = decide(evidence, rule)
    if outcome is Outcome.PROMOTED and (late := _overtaken(lake, version.model, version.name, rollout.baseline)):
        outcome, reason = Outcome.INCONCLUSIVE, late
    shown = {"evidence": to_plain(evidence), "rule": to_plain(rule)}
    return _close(lake, version, rollout.key, rollout.baseline, outcome, f"{reason} {ENDS_HERE}", shown)


def _overtaken(lake: Lake, model: str, name: str, baseline: str) -> str:
    """Why a promotion would be void; empty while the judged baseline is still in production."""
    now = read_state(lake.ledger, model).baseline
    if now == baseline:
        return ""
    return f"Void: {name} was judged against {baseline}, but {now} is in production now."


def _supersede(lake: Lake, version: ModelVersion) -> None:
    """Close a rollout that is still open; its closing key is taken then, so it cannot promote."""
    rollout = read_state(lake.ledger, version.model).rollout
    if rollout and rollout.version != version.version:
        reason = f"Superseded by {version.name} before it was decided."
        payload = {"version": rollout.version, "baseline": rollout.baseline, "reason": reason}
        lake.ledger.append(chain(version.model), Outcome.INCONCLUSIVE.value, _closing(rollout.key), payload)


def _close(
    lake: Lake,
    version: ModelVersion,
    key: str,
    baseline: str,
    outcome: Outcome,
    reason: str,
    shown: dict[str, Any],
) -> Verdict:
    payload = {"version": version.version, "baseline": baseline, "reason": reason, **shown}
    entry = lake.ledger.append(chain(version.model), outcome.value, _closing(key), payload)
    verdict = _verdict(lake, version, entry)
    log.info("%s: %s. %s", version.name, verdict.outcome.value, verdict.reason)
    return verdict


def _verdict(lake: Lake, version: ModelVersion, entry: Entry) -> Verdict:
    """What the closing entry amounts to: a promotion that another one overtook is void, whoever wrote it."""
    outcome, reason = Outcome(entry.kind), str(entry.payload["reason"])
    history = [one for one in lake.ledger.entries(entry.chain) if one.seq <= entry.seq]
    if outcome is Outcome.PROMOTED and fold(version.model, history).production != version:
        outcome, reason = Outcome.INCONCLUSIVE, f"Void: {entry.payload['baseline']} was replaced in the meantime."
    return Verdict(model=version.model, outcome=outcome, version=version.version, reason=reason, entry=entry.digest)


def _last_closed(lake: Lake, version: ModelVersion) -> Entry | None:
    """How the newest rollout of a version ended."""
    ends = [
        entry
        for entry in lake.ledger.entries(chain(version.model))
        if entry.key.startswith(f"rollout:{version.name}:") and entry.key == _closing(entry.key.removesuffix(":closed"))
    ]
    return ends[-1] if ends else None


def _key(version: ModelVersion, baseline: ModelVersion | None, profile: TrainingProfile, rule: ShadowRule) -> str:
    """Version, baseline and all that changes the verdict: under another rule it is another rollout."""
    parts = [to_plain(rule), profile.shadow_requests, profile.shadow_generations, profile.max_new_tokens]
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]
    return f"rollout:{version.name}:{name_of(baseline)}:{digest}"


def _closing(key: str) -> str:
    return f"{key}:closed"

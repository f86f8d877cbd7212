"""Shadow: recent real requests answered by candidate and baseline in process, before any user meets the candidate.

The evaluation has shown the candidate better on average; the shadow asks whether it breaks anything. Its requests are
the newest held-out ones, outside the evaluation's sample as far as there are any. What counts as harm, and how sure one
has to be, stands in ``serving.harm``.
"""

import logging
from typing import Any

import pyarrow as pa

from lake.lake import Lake
from lake.ledger import Entry
from models.evaluation import paired_scores
from models.held_out import held_out_sample, usable
from models.likelihood import Generated, generate
from models.pair import Pair, name_of, open_pair, requests
from models.records import to_plain
from models.registry import load_version
from models.spec import ModelSpec, TrainingProfile
from models.state import chain, fold, read_state
from models.types import ModelVersion, Outcome, TrainingSet, Verdict
from serving.harm import ShadowEvidence, ShadowRule, decide, weigh

log = logging.getLogger("fuelline.shadow")

ENDS_HERE = "With no live serving configured the rollout ends here."


def shadow(
    lake: Lake,
    version: ModelVersion,
    spec: ModelSpec,
    profile: TrainingProfile,
    baseline: ModelVersion | None,
    rule: ShadowRule | None = None,
) -> Verdict:
    """Open the rollout, compare, and close it in the ledger: promoted, rejected or inconclusive.

    Asked again, it returns the first verdict; killed in the middle, it does its work again. A promotion is void unless
    the baseline is still in production at the moment it is written.

    Raises:
        UnknownName: the version is not registered.
        TamperedArtifact: a file of the version is not what was registered.
    """
    rule, where, key = rule or ShadowRule(), chain(version.model), _key(version.name, name_of(baseline))
    if closed := lake.ledger.find(where, f"{key}:closed"):
        return _verdict(lake, version, closed)
    if reason := _overtaken(lake, version, baseline):
        return _close(lake, version, baseline, Outcome.INCONCLUSIVE, reason, {})
    _supersede(lake, version)
    lake.ledger.append(where, "rollout_opened", key, {"version": version.version, "baseline": name_of(baseline)})
    evidence = compare(lake, version, spec, profile, baseline, rule)
    outcome, reason = decide(evidence, rule)
    if outcome is Outcome.PROMOTED and (late := _overtaken(lake, version, baseline)):
        outcome, reason = Outcome.INCONCLUSIVE, late
    shown = {"evidence": to_plain(evidence), "rule": to_plain(rule)}
    return _close(lake, version, baseline, outcome, f"{reason} {ENDS_HERE}", shown)


def compare(
    lake: Lake,
    version: ModelVersion,
    spec: ModelSpec,
    profile: TrainingProfile,
    baseline: ModelVersion | None,
    rule: ShadowRule,
) -> ShadowEvidence:
    """Answer the recent requests with both versions and count."""
    training_set = load_version(lake, version.name).evaluation.adapter.training_set
    rows, fresh = recent_requests(lake, training_set, profile)
    answered = (
        rows.slice(max(0, rows.num_rows - profile.shadow_generations)) if profile.shadow_generations else rows[:0]
    )
    log.info("shadow: %d recent requests by likelihood, %d by generation", rows.num_rows, answered.num_rows)
    with open_pair(lake, version, baseline, spec, profile) as pair:
        scores = paired_scores(pair, rows, profile.max_tokens)
        candidate, held = _answers(pair, answered, profile)
    return weigh(scores, candidate, held, fresh, rule)


def recent_requests(lake: Lake, training_set: TrainingSet, profile: TrainingProfile) -> tuple[pa.Table, int]:
    """The newest held-out rows in order of time, and how many of them the evaluation did not score.

    Rows outside the evaluation's sample go first; those inside fill up what is missing. Neither trained the candidate.
    """
    rows = usable(lake, training_set)
    scored = set(held_out_sample(lake, training_set, profile.eval_rows)["interaction_id"].to_pylist())
    ids = rows["interaction_id"].to_pylist()
    fresh = [index for index, name in enumerate(ids) if name not in scored]
    seen = [index for index, name in enumerate(ids) if name in scored]
    count = profile.shadow_requests or len(ids)
    fresh = fresh[max(0, len(fresh) - count) :]
    filled = seen[max(0, len(seen) - (count - len(fresh))) :]
    return rows.take(sorted(fresh + filled)), len(fresh)


def _answers(pair: Pair, rows: pa.Table, profile: TrainingProfile) -> tuple[list[Generated], list[Generated]]:
    if not rows.num_rows:
        return [], []
    messages, _ = requests(rows)
    with pair.candidate() as model:
        candidate = generate(model, pair.tokenizer, messages, max_new_tokens=profile.max_new_tokens)
    with pair.baseline() as model:
        return candidate, generate(model, pair.tokenizer, messages, max_new_tokens=profile.max_new_tokens)


def _overtaken(lake: Lake, version: ModelVersion, baseline: ModelVersion | None) -> str:
    """Why a promotion would be void; empty while the judged baseline is still in production."""
    now = read_state(lake.ledger, version.model).baseline
    if now == name_of(baseline):
        return ""
    return f"Void: {version.name} was judged against {name_of(baseline)}, but {now} is in production now."


def _supersede(lake: Lake, version: ModelVersion) -> None:
    """Close a rollout that another run left open when it died; its closing key is taken then, so it cannot promote."""
    rollout = read_state(lake.ledger, version.model).rollout
    if rollout and rollout.version != version.version:
        payload = {
            "version": rollout.version,
            "baseline": rollout.baseline,
            "reason": f"Superseded by {version.name} before it was decided.",
        }
        key = f"{_key(f'{version.model}@v{rollout.version}', rollout.baseline)}:closed"
        lake.ledger.append(chain(version.model), Outcome.INCONCLUSIVE.value, key, payload)


def _close(
    lake: Lake,
    version: ModelVersion,
    baseline: ModelVersion | None,
    outcome: Outcome,
    reason: str,
    shown: dict[str, Any],
) -> Verdict:
    payload = {"version": version.version, "baseline": name_of(baseline), "reason": reason, **shown}
    key = f"{_key(version.name, name_of(baseline))}:closed"
    entry = lake.ledger.append(chain(version.model), outcome.value, key, payload)
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


def _key(version: str, baseline: str) -> str:
    return f"rollout:{version}:{baseline}"

"""Shadow: recent real requests answered by candidate and baseline in process, before any user gets the candidate.

The evaluation has shown the candidate better on average; the shadow tests whether it does harm. Its requests are the
newest held-out ones, outside the evaluation's sample as far as there are any. ``serving.statistics.shadow_test``
defines harm and how certain a verdict has to be.
"""

import logging
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lake.lake import Lake
from models.data.held_out import held_out_rows, held_out_sample
from models.evaluation.pair import ModelPair, open_model_pair
from models.llm.likelihood import Generated, generate
from models.llm.tokens import prompts_and_answers
from models.registry.fold import read_state
from models.registry.kinds import SHADOW_PASSED
from models.registry.registry import find_version, load_version
from models.serialize import to_plain
from models.spec import TrainingProfile
from models.types import BASE, Outcome, TrainingSet, Verdict
from serving.rollout.outcome import close, void_reason
from serving.rollout.plan import RolloutId, RolloutPlan, shadow_key
from serving.statistics.shadow_test import ShadowEvidence, decide, weigh

log = logging.getLogger("fuelline.shadow")

ENDS_HERE = "With no live serving configured the rollout ends here."


def shadow_step(lake: Lake, rollout: RolloutId, plan: RolloutPlan) -> Verdict | None:
    """Compare the two versions and decide; None where the candidate goes on to its users.

    Raises ``TamperedArtifact`` where a file of a version is not what was registered.
    """
    result = compare(lake, rollout, plan)
    outcome, reason = decide(result, plan.rule)
    evidence: dict[str, Any] = {"evidence": to_plain(result), "rule": to_plain(plan.rule)}
    live = plan.live or bool(lake.settings.vllm_replicas)
    if live and outcome is Outcome.PROMOTED:
        lake.ledger.append(rollout.chain, SHADOW_PASSED, shadow_key(rollout.key), rollout.payload(reason, **evidence))
        return None
    state = read_state(lake.ledger, rollout.version.model)
    if outcome is Outcome.PROMOTED and (void := void_reason(state, rollout)):
        outcome, reason = Outcome.INCONCLUSIVE, void
    return close(lake, rollout, outcome, reason if live else f"{reason} {ENDS_HERE}", evidence, live=False)


def compare(lake: Lake, rollout: RolloutId, plan: RolloutPlan) -> ShadowEvidence:
    """Answer the recent requests with both versions and count what went wrong."""
    baseline = None if rollout.baseline == BASE else find_version(lake.ledger, rollout.baseline)
    registered, profile = load_version(lake, rollout.version.name), plan.profile
    rows, fresh = recent_requests(lake, registered.evaluation.adapter.training_set, profile)
    answered = rows.slice(max(0, rows.num_rows - profile.shadow_generations))
    log.info("shadow: %d recent requests by likelihood, %d by generation", rows.num_rows, answered.num_rows)
    with open_model_pair(lake, rollout.version, baseline, registered.spec, profile) as pair:
        scores = pair.scores(rows)
        by_candidate, by_baseline = _answers(pair, answered, profile)
    return weigh(scores, by_candidate, by_baseline, fresh, plan.rule)


def recent_requests(lake: Lake, training_set: TrainingSet, profile: TrainingProfile) -> tuple[pa.Table, int]:
    """The newest held-out rows in order of time, and how many of them the evaluation did not score.

    Rows outside the evaluation's sample come first; rows inside it fill up to the number of the profile. The candidate
    was trained on neither.
    """
    rows = held_out_rows(lake, training_set)
    scored = held_out_sample(lake, training_set, profile.eval_rows)["interaction_id"]
    is_scored = pc.is_in(rows["interaction_id"], value_set=scored).to_numpy()
    fresh, seen = np.flatnonzero(~is_scored), np.flatnonzero(is_scored)
    count = profile.shadow_requests or rows.num_rows
    fresh = fresh[max(0, len(fresh) - count) :]
    filled = seen[max(0, len(seen) - (count - len(fresh))) :]
    return rows.take(np.sort(np.concatenate([fresh, filled]))), len(fresh)


def _answers(pair: ModelPair, rows: pa.Table, profile: TrainingProfile) -> tuple[list[Generated], list[Generated]]:
    """Generated answers of the candidate and of the baseline, a row each."""
    if not rows.num_rows:
        return [], []
    messages, _ = prompts_and_answers(rows)
    with pair.candidate() as model:
        candidate = generate(model, pair.tokenizer, messages, max_new_tokens=profile.max_new_tokens)
    with pair.baseline() as model:
        return candidate, generate(model, pair.tokenizer, messages, max_new_tokens=profile.max_new_tokens)

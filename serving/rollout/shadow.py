"""Shadow: recent real requests answered by candidate and baseline in process, before any user meets the candidate.

The evaluation has shown the candidate better on average; the shadow asks whether it breaks anything. Its requests are
the newest held-out ones, outside the evaluation's sample as far as there are any. What counts as harm, and how sure one
has to be, stands in ``serving.statistics.shadow_test``; what follows from it, in ``serving.rollout.rollout``.
"""

import logging

import pyarrow as pa

from lake.lake import Lake
from models.data.held_out import held_out_rows, held_out_sample
from models.evaluation.evaluate import paired_scores
from models.evaluation.pair import ModelPair, open_model_pair, prompts_and_answers
from models.llm.likelihood import Generated, generate
from models.registry.registry import load_version
from models.spec import ModelSpec, TrainingProfile
from models.types import ModelVersion, TrainingSet
from serving.statistics.shadow_test import ShadowEvidence, ShadowRule, weigh

log = logging.getLogger("fuelline.shadow")


def compare(
    lake: Lake,
    version: ModelVersion,
    spec: ModelSpec,
    profile: TrainingProfile,
    baseline: ModelVersion | None,
    rule: ShadowRule,
) -> ShadowEvidence:
    """Answer the recent requests with both versions and count.

    Raises:
        UnknownName: the version is not registered.
        TamperedArtifact: a file of the version is not what was registered.
    """
    training_set = load_version(lake, version.name).evaluation.adapter.training_set
    rows, fresh = recent_requests(lake, training_set, profile)
    answered = (
        rows.slice(max(0, rows.num_rows - profile.shadow_generations)) if profile.shadow_generations else rows[:0]
    )
    log.info("shadow: %d recent requests by likelihood, %d by generation", rows.num_rows, answered.num_rows)
    with open_model_pair(lake, version, baseline, spec, profile) as pair:
        scores = paired_scores(pair, rows, profile.max_tokens)
        candidate, held = _answers(pair, answered, profile)
    return weigh(scores, candidate, held, fresh, rule)


def recent_requests(lake: Lake, training_set: TrainingSet, profile: TrainingProfile) -> tuple[pa.Table, int]:
    """The newest held-out rows in order of time, and how many of them the evaluation did not score.

    Rows outside the evaluation's sample go first; those inside fill up what is missing. Neither trained the candidate.
    """
    rows = held_out_rows(lake, training_set)
    scored = set(held_out_sample(lake, training_set, profile.eval_rows)["interaction_id"].to_pylist())
    ids = rows["interaction_id"].to_pylist()
    fresh = [index for index, name in enumerate(ids) if name not in scored]
    seen = [index for index, name in enumerate(ids) if name in scored]
    count = profile.shadow_requests or len(ids)
    fresh = fresh[max(0, len(fresh) - count) :]
    filled = seen[max(0, len(seen) - (count - len(fresh))) :]
    return rows.take(sorted(fresh + filled)), len(fresh)


def _answers(pair: ModelPair, rows: pa.Table, profile: TrainingProfile) -> tuple[list[Generated], list[Generated]]:
    if not rows.num_rows:
        return [], []
    messages, _ = prompts_and_answers(rows)
    with pair.candidate() as model:
        candidate = generate(model, pair.tokenizer, messages, max_new_tokens=profile.max_new_tokens)
    with pair.baseline() as model:
        return candidate, generate(model, pair.tokenizer, messages, max_new_tokens=profile.max_new_tokens)

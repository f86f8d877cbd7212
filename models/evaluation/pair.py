"""A candidate and its baseline on one loaded base model, for the evaluation and the shadow test.

Both share the base's weights and the tokenizer, so a difference between their scores comes from the adapters.
"""

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from lake.lake import Lake
from models.evaluation.statistics import PairedScores
from models.llm.base_model import load, resolve
from models.llm.likelihood import examples_nll
from models.llm.lora import attach, using
from models.llm.tokens import prompts_and_answers, tokenize
from models.spec import ModelSpec, TrainingProfile
from models.types import ModelVersion, TrainedAdapter

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

log = logging.getLogger("fuelline.evaluation")


@dataclass(frozen=True, kw_only=True)
class ModelPair:
    """Two models to query in turn; ``with pair.candidate() as model`` activates one of them."""

    model: Any
    tokenizer: "PreTrainedTokenizerBase"
    has_baseline_adapter: bool
    max_tokens: int
    """Per scored row, at most."""

    def candidate(self) -> AbstractContextManager[Any]:
        """Activate the candidate."""
        return using(self.model, "candidate")

    def baseline(self) -> AbstractContextManager[Any]:
        """Activate the baseline's adapter, or none for the base model."""
        return using(self.model, "baseline" if self.has_baseline_adapter else None)

    def scores(self, rows: pa.Table) -> PairedScores:
        """Score the accepted answers of a training set's rows under both models, response tokens only."""
        examples = tokenize(*prompts_and_answers(rows), self.tokenizer, self.max_tokens)
        with self.candidate() as model:
            candidate = examples_nll(model, examples, self.tokenizer)
        log.info("scored %d rows under the candidate", len(examples))
        with self.baseline() as model:
            baseline = examples_nll(model, examples, self.tokenizer)
        log.info("scored %d rows under the baseline", len(examples))
        return PairedScores(
            candidate=candidate.nll_sum,
            baseline=baseline.nll_sum,
            tokens=candidate.tokens.astype(np.float64),
            users=np.array(rows["user_id"].to_pylist(), dtype=str),
        )


@contextmanager
def open_model_pair(
    lake: Lake,
    candidate: TrainedAdapter | ModelVersion,
    baseline: ModelVersion | None,
    spec: ModelSpec,
    profile: TrainingProfile,
) -> Iterator[ModelPair]:
    """Load the base with both adapters, on the GPU if there is one, and check the digests of the weights.

    In the context torch computes as in training: with the profile's threads and deterministic kernels. Raises
    ``BaseModelError`` where the base does not exist or an adapter was trained on another one, and ``TamperedArtifact``
    where an adapter's weights were changed.
    """
    from models.llm.distributed import dtype_of, has_gpu, repeatable

    device = "cuda" if has_gpu() else "cpu"
    with repeatable(profile):
        dtype = dtype_of(profile, device)
        base = resolve(lake.settings, spec.base)
        loaded, store = load(base, dtype, device), lake.store
        model: Any = attach(loaded.model, store, candidate.path, name="candidate", base=base, digest=candidate.digest)
        if baseline:
            model = attach(model, store, baseline.path, name="baseline", base=base, digest=baseline.digest)
        yield ModelPair(
            model=model,
            tokenizer=loaded.tokenizer,
            has_baseline_adapter=baseline is not None,
            max_tokens=profile.max_tokens,
        )

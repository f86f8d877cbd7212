"""A candidate and its baseline on one loaded base model: what evaluation, shadow and nothing else compare.

Both sides share the base's weights and the tokenizer, so a difference between their scores comes from the adapters.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from lake.lake import Lake
from models.llm.base_model import load, resolve
from models.llm.lora import attach, using
from models.llm.tokens import Messages
from models.prompt import render
from models.spec import ModelSpec, TrainingProfile
from models.types import ModelVersion, TrainedAdapter

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, kw_only=True)
class ModelPair:
    """Two models to ask in turn; ``with pair.candidate() as model`` puts one of them in force."""

    model: Any
    tokenizer: "PreTrainedTokenizerBase"
    has_baseline_adapter: bool

    def candidate(self) -> AbstractContextManager[Any]:
        """The candidate in force."""
        return using(self.model, "candidate")

    def baseline(self) -> AbstractContextManager[Any]:
        """The version in production in force, or the bare base where nothing is."""
        return using(self.model, "baseline" if self.has_baseline_adapter else None)


@contextmanager
def open_model_pair(
    lake: Lake,
    candidate: TrainedAdapter | ModelVersion,
    baseline: ModelVersion | None,
    spec: ModelSpec,
    profile: TrainingProfile,
) -> Iterator[ModelPair]:
    """Load the base with both adapters, on the GPU if there is one; the weights' digests are checked.

    Inside, torch computes as in training: with the profile's threads and deterministic kernels.

    Raises:
        BaseModelError: the base is not there, or an adapter was trained on another one.
        TamperedArtifact: an adapter's weights are not those recorded.
    """
    from models.llm.distributed import dtype_of, has_gpu, repeatable

    device = "cuda" if has_gpu() else "cpu"
    base = resolve(lake.settings, spec.base)
    loaded = load(base, dtype_of(profile, device), device)
    model: Any = attach(loaded.model, lake.store, candidate.path, name="candidate", base=base, digest=candidate.digest)
    if baseline:
        model = attach(model, lake.store, baseline.path, name="baseline", base=base, digest=baseline.digest)
    with repeatable(profile):
        yield ModelPair(model=model, tokenizer=loaded.tokenizer, has_baseline_adapter=baseline is not None)


def prompts_and_answers(rows: pa.Table) -> tuple[Sequence[Messages], list[str]]:
    """Each row of a training set as the messages that serving would send, and the accepted answer to them."""
    listed = rows.to_pylist()
    return [render(row["agent_name"], row, row["user_query"]) for row in listed], [row["response"] for row in listed]

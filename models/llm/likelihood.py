"""Likelihoods of given responses under a model, and its own greedy answers: the two things that are evaluated.

Logits are computed at response positions only, in training and evaluation: with a vocabulary of 49,152 and short
examples the others would be most of the work. A hook on the output layer selects the positions, so the model's own
forward pass, with any scaling or capping of its logits, is unchanged.
"""

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from models.llm.tokens import Messages, TokenBatch, TokenizedExamples, by_length, collate, prompt_tokens, turn_end

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

log = logging.getLogger("fuelline.models")

LOG_SECONDS = 3.0
GENERATION_BATCH = 16
"""Prompts that are answered together."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Likelihoods:
    """Scores by row, in the order of the input."""

    nll_sum: np.ndarray
    """float64 [rows]: negative log-likelihood of the response, the end of its turn included, in nats."""
    tokens: np.ndarray
    """int64 [rows]: response tokens that were scored."""

    @property
    def mean(self) -> float:
        """Nats per response token over all rows."""
        return float(self.nll_sum.sum() / max(1, self.tokens.sum()))


@dataclass(frozen=True, kw_only=True, slots=True)
class Generated:
    """One greedy answer."""

    text: str
    tokens: int
    """Without the end of the turn."""
    finished: bool
    """Whether the model ended its turn; if not, the answer reached ``max_new_tokens``."""


def examples_nll(
    model: Any, examples: TokenizedExamples, tokenizer: "PreTrainedTokenizerBase", batch_tokens: int = 2048
) -> Likelihoods:
    """Score each response given its prompt, in batches of rows of similar length.

    ``batch_tokens`` is the upper limit of padded tokens per forward pass. The model may have adapters.
    """
    import torch

    nll_sum = np.zeros(len(examples))
    was_training = model.training
    model.eval()
    with torch.inference_mode():
        for rows in _with_progress(by_length(examples.lengths, batch_tokens), len(examples)):
            batch = collate(examples, rows, _pad(tokenizer))
            nll = token_nll(model, batch).double().cpu().numpy()
            nll_sum[rows] = np.bincount(batch.rows, weights=nll, minlength=len(rows))
    model.train(was_training)
    return Likelihoods(nll_sum=nll_sum, tokens=examples.response_lengths)


def _with_progress(batches: Sequence[np.ndarray], total: int) -> Iterator[np.ndarray]:
    """The batches, with a log line every few seconds."""
    done, logged = 0, time.monotonic()
    for rows in batches:
        yield rows
        done += len(rows)
        if time.monotonic() - logged > LOG_SECONDS and done < total:
            logged = time.monotonic()
            log.info("scored %d of %d rows", done, total)


def token_nll(model: Any, batch: TokenBatch) -> "torch.Tensor":
    """Negative log-likelihood of each response token of the batch, float32 [targets], differentiable."""
    import torch

    device = next(model.parameters()).device
    positions = torch.from_numpy(batch.positions).to(device)

    def pick(_: Any, inputs: "tuple[torch.Tensor, ...]") -> "tuple[torch.Tensor]":
        return (inputs[0].flatten(0, 1).index_select(0, positions),)

    head = getattr(model, "module", model).get_output_embeddings()  # inside a DDP wrapper if there is one
    hook = head.register_forward_pre_hook(pick)
    try:
        ids, mask = (torch.from_numpy(part).to(device) for part in (batch.ids, batch.mask))
        logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
    finally:
        hook.remove()
    return torch.nn.functional.cross_entropy(
        logits.float(), torch.from_numpy(batch.targets).to(device), reduction="none"
    )


def generate(
    model: Any, tokenizer: "PreTrainedTokenizerBase", messages: Sequence[Messages], *, max_new_tokens: int
) -> list[Generated]:
    """Answer each prompt greedily, in the order of the input; prompts of similar length form a batch."""
    prompts = prompt_tokens(messages, tokenizer)
    order = np.argsort([len(ids) for ids in prompts], kind="stable")
    answers: dict[int, Generated] = {}
    for start in range(0, len(order), GENERATION_BATCH):
        rows = order[start : start + GENERATION_BATCH]
        generated = _answer(model, tokenizer, [prompts[i] for i in rows], max_new_tokens)
        answers.update(zip(rows.tolist(), generated, strict=True))
    return [answers[i] for i in range(len(prompts))]


def _answer(
    model: Any, tokenizer: "PreTrainedTokenizerBase", prompts: list[list[int]], max_new_tokens: int
) -> list[Generated]:
    import torch
    from transformers import GenerationConfig

    width, pad = max(len(ids) for ids in prompts), _pad(tokenizer)
    ids = torch.tensor([[pad] * (width - len(row)) + row for row in prompts], device=model.device)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in prompts], device=model.device)
    ends = sorted({turn_end(tokenizer)[-1], tokenizer.eos_token_id} - {None})
    config = GenerationConfig(max_new_tokens=max_new_tokens, do_sample=False, eos_token_id=ends, pad_token_id=pad)
    with torch.inference_mode():
        output = model.generate(input_ids=ids, attention_mask=mask, generation_config=config)
    return [_generated(row[width:].tolist(), ends, tokenizer) for row in output]


def _generated(ids: list[int], ends: list[int], tokenizer: "PreTrainedTokenizerBase") -> Generated:
    length = next((i for i, token in enumerate(ids) if token in ends), len(ids))
    text = str(tokenizer.decode(ids[:length], skip_special_tokens=True)).strip()
    return Generated(text=text, tokens=length, finished=length < len(ids))


def _pad(tokenizer: "PreTrainedTokenizerBase") -> int:
    return int(tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id)

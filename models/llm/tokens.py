"""Rows of a training set as token sequences, and the order in which training uses them.

An example consists of the prompt's tokens, exactly as serving sends them, the response's tokens, and the token that
ends a turn. Prompt and response are tokenized separately, so the boundary is the same as in serving.

In an example longer than ``max_tokens`` the response keeps up to three quarters of them (it is cut there, and then has
no end-of-turn token, because its end is missing), and the query loses its beginning, because the question is usually at
the end. The system message and the template are never cut.

Batches are formed by length, because padding is wasted work: rows are shuffled, sorted by length within windows of some
dozens of steps, cut into steps, and the steps are shuffled. The rows of a step depend only on seed and step size.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jinja2 import TemplateError

from errors import BaseModelError
from models.prompt import render

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

RESPONSE_SHARE = 0.75
"""Share of ``max_tokens`` that a response may take before it is cut."""
WINDOW_STEPS = 32
"""Number of steps whose rows are sorted by length together: more steps waste less padding and shuffle less."""

Messages = list[dict[str, str]]


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenizedExamples:
    """Token sequences in flat arrays: row ``i`` is ``tokens[offsets[i]:offsets[i + 1]]``."""

    tokens: np.ndarray
    """int32, all rows concatenated."""
    offsets: np.ndarray
    """int64 [rows + 1]."""
    prompt_lengths: np.ndarray
    """int64 [rows]: tokens of each row before its response."""
    weights: np.ndarray
    """float32 [rows]: weight of each row's response tokens in the loss."""

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each row, int64 [rows]."""
        return np.diff(self.offsets)

    @property
    def response_lengths(self) -> np.ndarray:
        """Response tokens of each row, int64 [rows]."""
        return self.lengths - self.prompt_lengths


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenBatch:
    """Rows padded on the right to the longest one."""

    ids: np.ndarray
    """int64 [rows, length]."""
    mask: np.ndarray
    """int64 [rows, length]: 1 where there is a token."""
    positions: np.ndarray
    """int64 [targets]: flat index into ``ids`` of the token before each response token, whose logits predict it."""
    targets: np.ndarray
    """int64 [targets]: the response tokens."""
    rows: np.ndarray
    """int64 [targets]: the row within the batch that each target belongs to."""


def training_examples(rows: pa.Table, tokenizer: "PreTrainedTokenizerBase", max_tokens: int) -> TokenizedExamples:
    """Render and tokenize the rows of a training set; those of weight 0 (or none) are dropped."""
    kept = rows.filter(pc.not_equal(rows["weight"], 0))
    return tokenize(*prompts_and_answers(kept), tokenizer, max_tokens, weights=kept["weight"].to_pylist())


def prompts_and_answers(rows: pa.Table) -> tuple[list[Messages], list[str]]:
    """The messages that serving would send for each row of a training set, and the accepted answers."""
    plain = rows.to_pylist()
    return [render(row["agent_name"], row, row["user_query"]) for row in plain], [row["response"] for row in plain]


def tokenize(
    messages: Sequence[Messages],
    responses: Sequence[str],
    tokenizer: "PreTrainedTokenizerBase",
    max_tokens: int,
    *,
    weights: Sequence[float] | None = None,
) -> TokenizedExamples:
    """Tokenize prompts and their responses; ``weights`` are 1.0 by default.

    Raises ``BaseModelError`` where the tokenizer has no chat template, or one without a system message.
    """
    end = turn_end(tokenizer)
    prompts = prompt_tokens(messages, tokenizer)
    answers = _encode(list(responses), tokenizer)
    limit = int(max_tokens * RESPONSE_SHARE)
    answers = [ids + end if len(ids) + len(end) <= limit else ids[:limit] for ids in answers]
    for i, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        if len(prompt) + len(answer) > max_tokens:
            prompts[i] = _shortened(messages[i], max_tokens - len(answer), prompt, tokenizer)
    return _flat(prompts, answers, [1.0] * len(prompts) if weights is None else weights)


def prompt_tokens(messages: Sequence[Messages], tokenizer: "PreTrainedTokenizerBase") -> list[list[int]]:
    """Each prompt as tokens, including the opening of the assistant's turn."""
    return _encode([_templated(tokenizer, prompt) for prompt in messages], tokenizer)


def turn_end(tokenizer: "PreTrainedTokenizerBase") -> list[int]:
    """The tokens with which the chat template ends an assistant's turn, up to and including the first special one."""
    marker = "fuelline"
    turn = [{"role": "user", "content": marker}, {"role": "assistant", "content": marker}]
    after = _templated(tokenizer, turn, opens=False).rpartition(marker)[2]
    ids = tokenizer(after, add_special_tokens=False)["input_ids"]
    special = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
    for i, token in enumerate(ids):
        if token in special:
            return list(ids[: i + 1])
    if tokenizer.eos_token_id is None:
        raise BaseModelError("the base model's chat template never ends a turn and its tokenizer has no end token")
    return [tokenizer.eos_token_id]


def _templated(tokenizer: "PreTrainedTokenizerBase", messages: Messages, *, opens: bool = True) -> str:
    try:
        return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=opens))
    except (ValueError, TemplateError) as error:
        raise BaseModelError(
            f"the base model's chat template does not support the roles system, user and assistant: {error}"
        ) from error


def _encode(texts: list[str], tokenizer: "PreTrainedTokenizerBase") -> list[list[int]]:
    if not texts:
        return []
    ids: list[list[int]] = tokenizer(texts, add_special_tokens=False, return_attention_mask=False)["input_ids"]
    return ids


def _shortened(messages: Messages, limit: int, prompt: list[int], tokenizer: "PreTrainedTokenizerBase") -> list[int]:
    """The prompt with tokens removed from the query's beginning until it has at most ``limit``."""
    *before, last = messages
    query = _encode([last["content"]], tokenizer)[0]
    keep = len(query) - (len(prompt) - limit)
    while keep > 0:
        content = str(tokenizer.decode(query[-keep:])).lstrip("\ufffd")
        ids = prompt_tokens([[*before, {**last, "content": content}]], tokenizer)[0]
        if len(ids) <= limit:
            return ids
        keep -= len(ids) - limit
    return prompt_tokens([[*before, {**last, "content": ""}]], tokenizer)[0][-limit:]


def _flat(prompts: list[list[int]], answers: list[list[int]], weights: Sequence[float]) -> TokenizedExamples:
    lengths = [len(p) + len(a) for p, a in zip(prompts, answers, strict=True)]
    tokens = [token for p, a in zip(prompts, answers, strict=True) for part in (p, a) for token in part]
    return TokenizedExamples(
        tokens=np.array(tokens, dtype=np.int32),
        offsets=np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64),
        prompt_lengths=np.array([len(p) for p in prompts], dtype=np.int64),
        weights=np.array(weights, dtype=np.float32),
    )


def collate(examples: TokenizedExamples, rows: np.ndarray, pad: int) -> TokenBatch:
    """Pad ``rows`` of ``examples`` into one batch, with the positions that predict response tokens."""
    lengths, prompts = examples.lengths[rows], examples.prompt_lengths[rows]
    width = int(lengths.max())
    columns = np.arange(width)
    mask = columns < lengths[:, None]
    ids = np.full(mask.shape, pad, dtype=np.int64)
    ids[mask] = np.concatenate([examples.tokens[examples.offsets[i] : examples.offsets[i + 1]] for i in rows])
    answered = mask & (columns >= prompts[:, None])
    row, column = np.nonzero(answered)
    return TokenBatch(
        ids=ids, mask=mask.astype(np.int64), positions=row * width + column - 1, targets=ids[answered], rows=row
    )


def steps(lengths: np.ndarray, step_rows: int, seed: int, epoch: int) -> list[np.ndarray]:
    """One epoch's steps: every row once, rows of similar length together, the last step possibly shorter.

    Of each step the indices of its ``step_rows`` rows (over all processes and accumulated batches), from the shortest
    row to the longest. Seed and epoch (from 0) decide the order, on any machine.
    """
    random = np.random.Generator(np.random.PCG64([seed, epoch]))
    order = random.permutation(len(lengths))
    window = step_rows * WINDOW_STEPS
    cut: list[np.ndarray] = []
    for start in range(0, len(order), window):
        rows = order[start : start + window]
        rows = rows[np.argsort(lengths[rows], kind="stable")]
        cut += [rows[i : i + step_rows] for i in range(0, len(rows), step_rows)]
    return [cut[i] for i in random.permutation(len(cut))]


def endless_steps(lengths: np.ndarray, step_rows: int, seed: int, *, skip: int = 0) -> Iterator[np.ndarray]:
    """Steps of epoch after epoch, without the first ``skip`` ones, with which a resumed training continues."""
    per_epoch = -(-len(lengths) // step_rows)
    epoch, done = divmod(skip, per_epoch)
    while True:
        yield from steps(lengths, step_rows, seed, epoch)[done:]
        epoch, done = epoch + 1, 0


def by_length(lengths: np.ndarray, batch_tokens: int) -> list[np.ndarray]:
    """Every row once, in batches of similar length with at most ``batch_tokens`` padded tokens (or of one row)."""
    order = np.argsort(lengths, kind="stable")[::-1]
    batches: list[np.ndarray] = []
    start = 0
    while start < len(order):
        size = max(1, batch_tokens // max(1, int(lengths[order[start]])))
        batches.append(order[start : start + size])
        start += size
    return batches


def padding_waste(lengths: np.ndarray, batches: Sequence[np.ndarray]) -> float:
    """Share of padding among the positions of these batches (0..1)."""
    padded = sum(int(lengths[rows].max()) * len(rows) for rows in batches)
    return 1.0 - sum(int(lengths[rows].sum()) for rows in batches) / padded if padded else 0.0

"""The probe: next-token log-probabilities of an adapter and its base at a few fixed positions, taken after training.

A server that has loaded the adapter is queried at the same positions, and only one that really applies these weights to
this base returns the same log-probabilities (``serving.replicas.load_gate``). The sentences are neutral and contain no
user's text. Their beginnings are stored as tokens, so the query needs no tokenizer and cannot differ from training.

At each position the probe has the likeliest tokens instead of the sentence's own, because a server returns those in one
cheap request. Its ``prompt_logprobs`` would score whole sentences, but not with an adapter: vLLM 0.32 assigns them to
the wrong rows, and on a CPU one such request beside others stops the engine (vLLM #16668, #51594).
"""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from models.llm.tokens import tokenize
from models.prompt import render
from models.serialize import from_plain, to_plain

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from transformers import PreTrainedTokenizerBase

PROBE = "probe.json"
"""Name of its file beside the weights."""
MAX_TOKENS = 256
"""Upper limit of tokens of a sentence with its prompt; a tokenizer of single bytes needs about 150."""
WATCHED = 6
"""Number of likeliest tokens at each position, of the adapter and of the base each."""
DIGITS = 5
"""Decimals of a stored log-probability, far below the rounding differences between engines."""

SENTENCES = (
    ("Is everything fine?", "Yes, everything is running as it should."),
    ("What should I do next?", "First read the report, then ask the owner of the service."),
    ("Name three colours.", "Red, green and blue."),
    ("Please count to five.", "One, two, three, four, five!"),
    ("Can you look into it?", "I could not find anything unusual in the last hour."),
)
"""Questions with an answer. The positions are where the answer begins and in its middle."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ProbeLine:
    """One position, and log-probabilities (nats) of some next tokens."""

    tokens: list[int]
    """The tokens before the position, as a server takes them."""
    watched: list[int]
    """The next tokens whose log-probabilities are stored."""
    adapter: list[float]
    """Log-probability of each of them with the adapter."""
    base: list[float]
    """Log-probability of each of them without it."""

    def __post_init__(self) -> None:
        if not self.tokens or not len(self.watched) == len(self.adapter) == len(self.base) > 0:
            raise ValueError(
                f"a probe line needs tokens, and both scores of each of its {len(self.watched)} watched tokens"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Probe:
    """The lines of one adapter."""

    lines: list[ProbeLine]

    def encode(self) -> bytes:
        """The stored form: equal probes give equal bytes."""
        return json.dumps(to_plain(self), sort_keys=True).encode()

    @classmethod
    def decode(cls, data: bytes) -> "Probe":
        """The probe that ``encode`` wrote. Raises ``ValueError`` for anything else."""
        return from_plain(cls, json.loads(data))


def positions(tokenizer: "PreTrainedTokenizerBase") -> list[list[int]]:
    """The fixed positions as the tokens before them, rendered as in training and serving."""
    messages = [render("assistant", None, question) for question, _ in SENTENCES]
    examples = tokenize(messages, [answer for _, answer in SENTENCES], tokenizer, MAX_TOKENS)
    return [
        examples.tokens[start : start + prompt + seen].tolist()
        for start, prompt, answer in zip(
            examples.offsets[:-1], examples.prompt_lengths, examples.response_lengths, strict=True
        )
        for seen in (0, answer // 2)
    ]


def take_probe(model: "PeftModel", tokenizer: "PreTrainedTokenizerBase") -> Probe:
    """Query an adapter and its base: two forward passes of about 400 tokens. The model is left as it was."""
    prefixes = positions(tokenizer)
    was_training = model.training
    model.eval()
    adapter = _next_tokens(model, prefixes)
    with model.disable_adapter():
        base = _next_tokens(model, prefixes)
    model.train(was_training)
    return Probe(lines=[_line(*scores) for scores in zip(prefixes, adapter, base, strict=True)])


def _next_tokens(model: Any, prefixes: list[list[int]]) -> "torch.Tensor":
    """Log-probabilities of the next token, float32 [positions, vocabulary] on the CPU."""
    import torch

    width = max(map(len, prefixes))
    ids = torch.tensor([tokens + [0] * (width - len(tokens)) for tokens in prefixes], device=model.device)
    mask = torch.tensor([[1] * len(tokens) + [0] * (width - len(tokens)) for tokens in prefixes], device=model.device)
    last = torch.tensor([len(tokens) - 1 for tokens in prefixes], device=model.device)
    with torch.inference_mode():
        logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
        return logits[torch.arange(len(prefixes), device=model.device), last].float().log_softmax(-1).cpu()


def _line(tokens: list[int], adapter: "torch.Tensor", base: "torch.Tensor") -> ProbeLine:
    likeliest = [scores.topk(WATCHED).indices.tolist() for scores in (adapter, base)]
    watched = sorted({token for some in likeliest for token in some})
    adapter_scores, base_scores = ([round(float(scores[t]), DIGITS) for t in watched] for scores in (adapter, base))
    return ProbeLine(tokens=tokens, watched=watched, adapter=adapter_scores, base=base_scores)

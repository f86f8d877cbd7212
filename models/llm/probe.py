"""The probe: what an adapter and its base would say next at a few fixed places, noted where both have just computed.

A server that loaded an adapter can be asked the same later, and only one that really applies these weights to this base
gives the same log-probabilities (``serving.replicas.load_gate``). The sentences are ours and neutral: no user's words.
Their beginnings are kept as tokens, so whoever asks again needs no tokenizer and cannot tokenize otherwise than
training did.

At each place the likeliest tokens are watched rather than the sentence's own, because those are what a server can be
asked for in one cheap request. Its ``prompt_logprobs`` would score whole sentences, but not with an adapter: vLLM 0.32
maps them to the wrong rows, and on a processor one such request beside others ends the engine (vLLM #16668, #51594).
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
"""Its name beside the weights."""
MAX_TOKENS = 256
"""Of a sentence with its prompt; a tokenizer of single bytes needs some 150."""
WATCHED = 6
"""Likeliest tokens that are watched at each place: so many of the adapter's and so many of the base's."""
DIGITS = 5
"""Decimals kept of a log-probability: far below what another engine's rounding adds."""

SENTENCES = (
    ("Is everything fine?", "Yes, everything is running as it should."),
    ("What should I do next?", "First read the report, then ask the owner of the service."),
    ("Name three colours.", "Red, green and blue."),
    ("Please count to five.", "One, two, three, four, five!"),
    ("Can you look into it?", "I could not find anything unusual in the last hour."),
)
"""Questions with an answer. Each is looked at where the answer begins and in its middle."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ProbeLine:
    """One place in a text, and how likely some tokens were found to come next, in nats."""

    tokens: list[int]
    """What stands before, as a server takes it."""
    watched: list[int]
    """The tokens whose log-probabilities are kept."""
    adapter: list[float]
    """Of each of them, with the adapter."""
    base: list[float]
    """Of each of them, without it."""

    def __post_init__(self) -> None:
        if not self.tokens or not len(self.watched) == len(self.adapter) == len(self.base) > 0:
            raise ValueError(
                f"a probe line needs tokens, and a score of either kind for each of its {len(self.watched)} watched"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Probe:
    """All lines of one adapter."""

    lines: list[ProbeLine]

    def encode(self) -> bytes:
        """As it is stored: equal probes give equal bytes."""
        return json.dumps(to_plain(self), sort_keys=True).encode()

    @classmethod
    def decode(cls, data: bytes) -> "Probe":
        """What ``encode`` wrote. Raises ``ValueError`` on anything else."""
        return from_plain(cls, json.loads(data))


def places(tokenizer: "PreTrainedTokenizerBase") -> list[list[int]]:
    """The fixed places as the tokens before them, made as training and serving make theirs."""
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
    """Ask an adapter and its base; two forward passes of some 400 tokens. The model is left as it was."""
    asked = places(tokenizer)
    was_training = model.training
    model.eval()
    adapter = _next_tokens(model, asked)
    with model.disable_adapter():
        base = _next_tokens(model, asked)
    model.train(was_training)
    return Probe(lines=[_line(*one) for one in zip(asked, adapter, base, strict=True)])


def _next_tokens(model: Any, asked: list[list[int]]) -> "torch.Tensor":
    """Log-probabilities of what comes next, float32 [places, vocabulary] on the CPU."""
    import torch

    width = max(map(len, asked))
    ids = torch.tensor([tokens + [0] * (width - len(tokens)) for tokens in asked], device=model.device)
    mask = torch.tensor([[1] * len(tokens) + [0] * (width - len(tokens)) for tokens in asked], device=model.device)
    last = torch.tensor([len(tokens) - 1 for tokens in asked], device=model.device)
    with torch.inference_mode():
        logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
        return logits[torch.arange(len(asked), device=model.device), last].float().log_softmax(-1).cpu()


def _line(tokens: list[int], adapter: "torch.Tensor", base: "torch.Tensor") -> ProbeLine:
    likeliest = [scores.topk(WATCHED).indices.tolist() for scores in (adapter, base)]
    watched = sorted({token for some in likeliest for token in some})
    adapter_scores, base_scores = ([round(float(scores[t]), DIGITS) for t in watched] for scores in (adapter, base))
    return ProbeLine(tokens=tokens, watched=watched, adapter=adapter_scores, base=base_scores)

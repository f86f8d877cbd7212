"""The load gate: before an adapter gets traffic, its answers show that it is applied, and on the right base.

vLLM can load an adapter and not apply it (vLLM #34186), or serve another base than the one that was trained on; both
answer 200. So the replica generates one token for each prompt of the version's probe (``models.llm.probe``), as the
adapter and as the base, and its log-probabilities are compared with those recorded at the end of the training. A
replica lists its 20 most likely tokens; every other token counts as likely as the last of them, on both sides.

Distances are mean absolute differences in nats per watched token. Measured on SmolLM2 with adapters of rank 8 on every
layer, served in bfloat16 by vLLM 0.32 on a CPU: trained in float32, an adapter is 0.027 and 0.042 from its own record
and the base 0.028 and 0.032 from its own; trained in bfloat16, 0.032 and 0.056, and 0.031 and 0.037. Trained and served
in float32 both are 0.000 from it, and so is a repeated request from the first. Without its adapter a replica is 1.0 to
3.3 from the record, with another adapter 1.7 to 2.6.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from lake.lake import Lake
from models.llm.probe import SENTENCES, Probe
from models.registry.registry import read_probe
from models.types import BASE, ModelVersion
from serving.replicas.vllm import NextTokens, Replica

TOLERANCE = 0.15
"""Nats per watched token that the rounding of another engine may add: about three times what was measured."""
RECORD_RATIO = 3.0
"""How many times nearer the answers must be to the adapter's record than to the base's."""
MIN_DIFFERENCE = 0.01
"""Smallest distance in nats of an adapter from its base; one that is not applied has exactly none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GateResult:
    """The result of the gate; distances in nats per watched token."""

    adapter: str
    """``agents@3f9c2a71``."""
    replica: str
    passed: bool
    reason: str
    from_base: float
    """Between the replica's answers as the adapter and as the base."""
    gap: float | None = None
    """Between its answers as the adapter and the adapter's record; None if the version has no probe."""
    gap_to_base: float | None = None
    """Between its answers as the adapter and the base's record."""
    base_gap: float | None = None
    """Between its answers as the base and the base's record: the difference of the engines without an adapter."""
    tolerance: float = TOLERANCE

    def __str__(self) -> str:
        return f"{self.adapter} on {self.replica}: {'passed' if self.passed else 'NOT passed'}: {self.reason}"


def check_adapter(lake: Lake, replica: Replica, version: ModelVersion) -> GateResult:
    """Check that the replica applies this version's adapter, which it has loaded under the adapter's name.

    The replica gets two requests, for one token each after about ten prompts. Raises ``PeerError`` where it does not
    answer, and ``TamperedArtifact`` where the probe differs from the registered one.
    """
    probe, name = read_probe(lake, version), version.adapter_name
    return compare_with_probe(probe, replica, name) if probe else compare_with_base(replica, name)


def compare_with_probe(probe: Probe, replica: Replica, name: str) -> GateResult:
    """Compare the answers of the adapter loaded as ``name`` with those in the probe. Raises ``PeerError``."""
    prompts = [line.tokens for line in probe.lines]
    answers, base_answers = replica.next_tokens(name, prompts), replica.next_tokens(BASE, prompts)
    adapter_record = [dict(zip(line.watched, line.adapter, strict=True)) for line in probe.lines]
    base_record = [dict(zip(line.watched, line.base, strict=True)) for line in probe.lines]
    gap, gap_to_base = _from_record(answers, adapter_record), _from_record(answers, base_record)
    base_gap, from_base = _from_record(base_answers, base_record), _between(answers, base_answers)
    fault = _fault(gap=gap, gap_to_base=gap_to_base, base_gap=base_gap, from_base=from_base)
    return GateResult(
        adapter=name,
        replica=replica.address,
        passed=not fault,
        reason=fault or f"{gap:.3f} nats per token from its record, {from_base:.3f} from the base",
        from_base=from_base,
        gap=gap,
        gap_to_base=gap_to_base,
        base_gap=base_gap,
    )


def compare_with_base(replica: Replica, name: str) -> GateResult:
    """Check that the adapter changes the base's answers: all that is possible without a probe. Raises ``PeerError``."""
    prompts = [question for question, _ in SENTENCES]
    answers, base_answers = replica.next_tokens(name, prompts), replica.next_tokens(BASE, prompts)
    distance = _between(answers, base_answers)
    applied = distance > MIN_DIFFERENCE
    reason = (
        f"it was registered without a probe, so only this is shown: it is {distance:.3f} nats per token from the base"
        if applied
        else f"it answers as the base does ({distance:.3f} nats per token from it): loaded, but not applied"
    )
    return GateResult(adapter=name, replica=replica.address, passed=applied, reason=reason, from_base=distance)


def _fault(*, gap: float, gap_to_base: float, base_gap: float, from_base: float) -> str:
    """The first check that fails, as a reason; empty if all pass."""
    if base_gap > TOLERANCE:
        return (
            f"the base it serves answers {base_gap:.3f} nats per token from the one that was trained on "
            f"(tolerance {TOLERANCE:g}): another base, another precision, or, on a CPU, as many adapters loaded "
            "since its start as it has --max-loras (docs/vllm.md)"
        )
    if from_base <= MIN_DIFFERENCE:
        return f"it answers as the base does ({from_base:.3f} nats per token from it): loaded, but not applied"
    if gap > TOLERANCE:
        return f"it answers {gap:.3f} nats per token from its record (tolerance {TOLERANCE:g}): other weights"
    if gap * RECORD_RATIO > gap_to_base:
        return (
            f"it cannot be distinguished from the base: {gap:.3f} nats per token from its own record and "
            f"{gap_to_base:.3f} from the base's"
        )
    return ""


def _from_record(answers: Sequence[NextTokens], record: Sequence[dict[int, float]]) -> float:
    """Distance between answers and the recorded log-probabilities of the watched tokens."""
    return fmean(
        abs(answer.of(token) - max(score, answer.floor))
        for answer, scores in zip(answers, record, strict=True)
        for token, score in scores.items()
    )


def _between(first: Sequence[NextTokens], second: Sequence[NextTokens]) -> float:
    """Distance between two answers of a replica, over every token that either lists."""
    return fmean(
        abs(max(a.of(token), floor) - max(b.of(token), floor))
        for a, b in zip(first, second, strict=True)
        for floor in [max(a.floor, b.floor)]
        for token in sorted({*a.likeliest, *b.likeliest})
    )

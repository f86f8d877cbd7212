"""The load gate: before an adapter gets traffic, its answers prove that it is applied, and on the right base.

vLLM can load an adapter and not apply it (vLLM #34186), or serve another base than the one that was trained on; both
answer 200. So the replica is asked what it would say next at the places of the version's probe (``models.llm.probe``),
as the adapter and as the base, and its log-probabilities are compared with those noted when the training ended. A
replica lists its 20 likeliest tokens; whatever is not listed counts as just as likely as the last that is, on both
sides.

Distances are mean absolute differences in nats a watched token. Measured on SmolLM2 with adapters of rank 8 on every
layer, served in bfloat16 by vLLM 0.32 on a processor: trained in float32, an adapter is 0.027 and 0.042 from its own
record and the base 0.028 and 0.032 from its own; trained in bfloat16, 0.032 and 0.056, and 0.031 and 0.037. Trained
and served in float32 both are 0.000 from it, as a second asking is from the first. Without its adapter a replica is 1.0
to 3.3 from the record, with another 1.7 to 2.6.
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
"""Nats a watched token that another engine's rounding may add: some three times what was measured."""
FAR = 3.0
"""The answers must be so many times nearer to the adapter's record than to the base's."""
MOVED = 0.01
"""Nats by which an adapter moves its base at least; one that is not applied moves it by nothing at all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Proof:
    """What the gate found, in nats a watched token."""

    adapter: str
    """``agents@3f9c2a71``."""
    replica: str
    passed: bool
    reason: str
    from_base: float
    """Between the replica's answers as the adapter and as the base."""
    gap: float | None = None
    """Between its answers as the adapter and the adapter's record; None where the version has no probe."""
    gap_to_base: float | None = None
    """Between its answers as the adapter and the base's record."""
    base_gap: float | None = None
    """Between its answers as the base and the base's record: what engines differ by where no adapter is."""
    tolerance: float = TOLERANCE

    def __str__(self) -> str:
        return f"{self.adapter} on {self.replica}: {'passed' if self.passed else 'NOT passed'}: {self.reason}"


def prove(
    lake: Lake, replica: Replica, version: ModelVersion, base: str = BASE, *, tolerance: float = TOLERANCE
) -> Proof:
    """Whether the replica really applies this version's adapter, which it has loaded.

    Args:
        lake: has the version's probe.
        replica: is asked twice, for one token each at some ten places.
        version: was loaded under its adapter name.
        base: what the replica calls its base.
        tolerance: see ``TOLERANCE``.

    Raises:
        PeerError: the replica does not answer, or does not serve one of the two.
        TamperedArtifact: the probe is not what was registered.
    """
    probe = read_probe(lake, version)
    if probe is None:
        return differs(replica, version.adapter_name, base)
    return matches(probe, replica, version.adapter_name, base, tolerance=tolerance)


def matches(probe: Probe, replica: Replica, name: str, base: str = BASE, *, tolerance: float = TOLERANCE) -> Proof:
    """Whether what the replica calls ``name`` answers as the probe's adapter did. Raises ``PeerError``."""
    asked = [line.tokens for line in probe.lines]
    answers, plain = replica.next_tokens(name, asked), replica.next_tokens(base, asked)
    adapter_record = [dict(zip(line.watched, line.adapter, strict=True)) for line in probe.lines]
    base_record = [dict(zip(line.watched, line.base, strict=True)) for line in probe.lines]
    gap, gap_to_base = _from_record(answers, adapter_record), _from_record(answers, base_record)
    base_gap, from_base = _from_record(plain, base_record), _between(answers, plain)
    fault = _fault(gap=gap, gap_to_base=gap_to_base, base_gap=base_gap, from_base=from_base, tolerance=tolerance)
    return Proof(
        adapter=name,
        replica=replica.address,
        passed=not fault,
        reason=fault or f"{gap:.3f} nats a token from its record, {from_base:.3f} from the base",
        from_base=from_base,
        gap=gap,
        gap_to_base=gap_to_base,
        base_gap=base_gap,
        tolerance=tolerance,
    )


def differs(replica: Replica, name: str, base: str = BASE) -> Proof:
    """All that can be shown of a version without a probe: that it changes what the base says. Raises ``PeerError``."""
    asked = [question for question, _ in SENTENCES]
    moved = _between(replica.next_tokens(name, asked), replica.next_tokens(base, asked))
    applied = moved > MOVED
    reason = (
        f"it was registered without a probe, so this is all that is shown: it is {moved:.3f} nats a token from the base"
        if applied
        else f"it answers as the base does ({moved:.3f} nats a token from it): loaded, but not applied"
    )
    return Proof(adapter=name, replica=replica.address, passed=applied, reason=reason, from_base=moved)


def _fault(*, gap: float, gap_to_base: float, base_gap: float, from_base: float, tolerance: float) -> str:
    """The first thing that is wrong; empty: nothing."""
    if base_gap > tolerance:
        return (
            f"the base it serves answers {base_gap:.3f} nats a token from the one that was trained on "
            f"(tolerance {tolerance:g}): another base, another precision, or, on a processor, as many adapters loaded "
            "since its start as it has --max-loras (docs/vllm.md)"
        )
    if from_base <= MOVED:
        return f"it answers as the base does ({from_base:.3f} nats a token from it): loaded, but not applied"
    if gap > tolerance:
        return f"it answers {gap:.3f} nats a token from its record (tolerance {tolerance:g}): other weights"
    if gap * FAR > gap_to_base:
        return (
            f"it cannot be told from the base: {gap:.3f} nats a token from its own record and {gap_to_base:.3f} from "
            "the base's"
        )
    return ""


def _from_record(answers: Sequence[NextTokens], record: Sequence[dict[int, float]]) -> float:
    """Between answers and what was recorded of the watched tokens."""
    return fmean(
        abs(answer.of(token) - max(score, answer.floor))
        for answer, scores in zip(answers, record, strict=True)
        for token, score in scores.items()
    )


def _between(one: Sequence[NextTokens], other: Sequence[NextTokens]) -> float:
    """Between two answers of a replica, over every token that either lists."""
    return fmean(
        abs(max(a.of(token), floor) - max(b.of(token), floor))
        for a, b in zip(one, other, strict=True)
        for floor in [max(a.floor, b.floor)]
        for token in sorted({*a.likeliest, *b.likeliest})
    )

"""The gate on prepared answers; ``tests/vllm/test_gate.py`` runs it on a real vLLM."""

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from models.llm.probe import Probe, ProbeLine
from serving.replicas.load_gate import compare_with_base, compare_with_probe
from serving.replicas.vllm import NextTokens, Replica

RECORD = ProbeLine(tokens=[1, 2], watched=[10, 11, 12], adapter=[-0.2, -1.9, -7.0], base=[-6.0, -0.9, -0.6])
PROBE = Probe(lines=[RECORD])
AS_ADAPTER, AS_BASE = {10: -0.21, 11: -1.86, 13: -5.0}, {11: -0.93, 12: -0.58, 13: -4.0}


@dataclass(frozen=True, slots=True)
class PreparedReplica(Replica):
    """A replica with prepared answers: no real one can be made to err as needed."""

    adapter: dict[int, float]
    base: dict[int, float]

    def next_tokens(self, model: str, prompts: Sequence[str] | Sequence[list[int]]) -> list[NextTokens]:
        return [NextTokens(self.base if model == "base" else self.adapter) for _ in prompts]


def replica(adapter: dict[int, float], base: dict[int, float]) -> PreparedReplica:
    return PreparedReplica("http://vllm", adapter, base)


def test_answers_like_the_record_pass() -> None:
    result = compare_with_probe(PROBE, replica(AS_ADAPTER, AS_BASE), "agents@1")
    assert result.passed, result
    assert result.gap == pytest.approx((0.01 + 0.04 + 0) / 3)  # the third is below what the replica lists
    assert result.base_gap is not None
    assert result.base_gap == pytest.approx((0 + 0.03 + 0.02) / 3)


@pytest.mark.parametrize(
    ("adapter", "base", "reason"),
    [
        (AS_BASE, AS_BASE, "loaded, but not applied"),
        ({10: -1.5, 11: -0.4, 13: -5.0}, AS_BASE, "other weights"),
        (AS_ADAPTER, {10: -0.1, 11: -3.0, 12: -4.0}, "the base it serves"),
    ],
)
def test_other_answers_fail_with_a_reason(adapter: dict[int, float], base: dict[int, float], reason: str) -> None:
    result = compare_with_probe(PROBE, replica(adapter, base), "agents@1")
    assert not result.passed
    assert reason in str(result)


def test_an_adapter_that_hardly_differs_from_its_base_fails() -> None:
    near = ProbeLine(tokens=[1], watched=[10, 11], adapter=[-0.50, -1.00], base=[-0.54, -1.04])
    result = compare_with_probe(Probe(lines=[near]), replica({10: -0.53, 11: -1.03}, {10: -0.54, 11: -1.05}), "a@1")
    assert not result.passed
    assert "cannot be distinguished from the base" in result.reason or "not applied" in result.reason


def test_without_a_probe_only_the_difference_from_the_base_is_checked() -> None:
    result = compare_with_base(replica(AS_ADAPTER, AS_BASE), "agents@1")
    assert result.passed
    assert result.gap is None
    assert "without a probe" in result.reason
    assert not compare_with_base(replica(AS_BASE, AS_BASE), "agents@1").passed

"""What a candidate must pass before it gets users, or more of them: its prompt is the one that this release renders,
and every replica proves that it applies its adapter.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from errors import PeerError, SettingsError
from lake.lake import Lake
from models.prompt import PROMPT_VERSION
from models.registry.registry import load_manifest
from models.serialize import to_plain
from models.types import ModelVersion, Outcome
from serving.policy import CanaryRule
from serving.replicas.load_gate import GateResult, check_adapter
from serving.replicas.reconcile import reconcile
from serving.replicas.vllm import Replica


@dataclass(frozen=True, kw_only=True, slots=True)
class Admission:
    """Whether a candidate may get users."""

    refused: Outcome | None = None
    """How its rollout ends; None where it is admitted."""
    reason: str = ""
    """Of the refusal, in a sentence."""
    evidence: dict[str, Any] = field(default_factory=dict)
    """The proofs of the replicas, as the ledger stores them."""


def admit(lake: Lake, version: ModelVersion, rule: CanaryRule, *, overdue: bool) -> Admission:
    """Check the prompt, then every replica. Where the proof is ``overdue``, one that does not answer is a refusal.

    Raises ``PeerError`` where a replica does not answer in time, ``SettingsError`` where none is named, and
    ``TamperedArtifact`` where a file of the adapter is not what was registered.
    """
    trained = load_manifest(lake, version.name).spec.prompt_version
    if trained != PROMPT_VERSION:
        reason = f"Trained on prompt {trained}, and this release renders prompt {PROMPT_VERSION}: train it anew."
        return Admission(refused=Outcome.REJECTED, reason=reason)
    try:
        proofs = prove_everywhere(lake, version)
    except PeerError as error:
        if not overdue:
            raise
        reason = f"Not proven on every replica within {rule.proof_hours:g} hours of its shadow: {error}"
        return Admission(refused=Outcome.INCONCLUSIVE, reason=reason)
    evidence = {"proofs": [to_plain(proof) for proof in proofs]}
    failed = [proof for proof in proofs if not proof.passed]
    if failed:
        reason = f"Not applied by {len(failed)} of {len(proofs)} replicas: {failed[0].reason}"
        return Admission(refused=Outcome.REJECTED, reason=reason, evidence=evidence)
    return Admission(evidence=evidence)


def prove_everywhere(lake: Lake, version: ModelVersion) -> list[GateResult]:
    """Load an adapter on every replica, as far as this process may, and have each prove that it applies it."""
    replicas = [Replica(address) for address in lake.settings.vllm_replicas]
    if not replicas:
        raise SettingsError(
            "FUELLINE_VLLM is not set in this process, so no replica can prove that it applies the candidate; this "
            "rollout was opened where it is set. Example: FUELLINE_VLLM=http://vllm-0.vllm:8001"
        )
    if lake.settings.adapters:
        report = reconcile(lake, replicas, Path(lake.settings.adapters))
        refused = [proof for proof in report.gate_results if proof.adapter == version.adapter_name and not proof.passed]
        if refused:
            return refused  # such an adapter is unloaded, so the replica cannot be asked again
    return [check_adapter(lake, replica, version) for replica in replicas]

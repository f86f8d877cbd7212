"""A candidate among its users: one step of the canary, and of the watch after the promotion.

A look gathers the evidence, weighs it, asks the state machine, and writes what it says as one ledger entry with that
evidence. Before anybody meets the candidate, every replica has to prove that it really applies it. Routing changes
first: the entry is the decision, the gateways follow it, and unloading comes long after.
"""

import logging
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from errors import PeerError, SettingsError
from lake.lake import Lake
from lake.store.ledger import Entry
from models.prompt import PROMPT_VERSION
from models.registry.fold import read_state
from models.registry.kinds import model_chain
from models.registry.registry import load_manifest
from models.registry.state import Rollout, Soak
from models.serialize import to_plain
from models.types import ModelVersion, Outcome, Verdict, baseline_name
from serving.policy import CanaryRule
from serving.replicas.load_gate import GateResult, check_adapter
from serving.replicas.reconcile import reconcile
from serving.replicas.vllm import Replica
from serving.rollout.forecast import forecast
from serving.rollout.observations import Served, gather, shadow_of
from serving.rollout.outcome import close, overtaken, rolling_out
from serving.rollout.plan import Plan, passing, plan_of
from serving.rollout.state_machine import Exposure, Missed, Move, Shown, Step, next_step, next_watch
from serving.statistics.sequential_test import Analysis, MetricAnalysis, analyse

log = logging.getLogger("fuelline.canary")

NOBODY = Exposure(requests=0, users=0)
NEVER = Missed(calls=0, of=0, minutes=0.0)
NOTHING = Shown(worse="", not_worse=False, missing="no request yet")


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """What one look saw, and the step that follows from it."""

    step: Step
    served: Served | None = None
    """None before the first user."""
    analysis: Analysis | None = None

    def plain(self, rule: CanaryRule) -> dict[str, Any]:
        """The evidence as a ledger entry keeps it."""
        if self.served is None or self.analysis is None:
            return {"rule": to_plain(rule)}
        missed = to_plain(self.served.missed(rule))
        read = list(self.served.read)
        return {"evidence": to_plain(self.analysis), "missed": missed, "read": read, "rule": to_plain(rule)}


def canary_step(lake: Lake, version: ModelVersion, rollout: Rollout, plan: Plan) -> Verdict:
    """One step of an open rollout whose shadow has passed.

    Args:
        lake: where everything is.
        version: the candidate.
        rollout: where it stands.
        plan: what decides beside the evidence.

    Raises:
        PeerError: a replica does not answer.
        TamperedArtifact: a file of the adapter is not what was registered.
    """
    look = look_at(lake, version, rollout, plan)
    if look.step.move is Move.WAIT:
        log.info("%s: %s", version.name, look.step.reason)
        return rolling_out(version, look.step.reason, lake.ledger.entries(model_chain(version.model))[-1])
    if look.step.move is Move.WIDEN:
        return _widen(lake, version, rollout, plan, look)
    return _end(lake, version, rollout, plan, look)


def look_at(lake: Lake, version: ModelVersion, rollout: Rollout, plan: Plan) -> Look:
    """What the evidence says now, and what it asks for. Reads, and writes nothing but what the gateways drained."""
    served, analysis, exposure, missed, shown = None, None, NOBODY, NEVER, NOTHING
    if rollout.began and rollout.widened:
        served = gather(lake, version, rollout.key)
        rows = served.counted(plan.canary)
        analysis = analyse(rows, plan.canary, shadow_of(lake, version.model, rollout.key))
        exposure, missed, shown = served.exposure(rollout.widened), served.missed(plan.canary), _shown(analysis)
    step = next_step(
        plan.canary,
        share=rollout.share,
        began=rollout.began,
        now=lake.ledger.clock(),
        exposure=exposure,
        missed=missed,
        shown=shown,
        approved=rollout.approved,
        overtaken=overtaken(lake, version.model, version.name, rollout.baseline),
    )
    return Look(step=step, served=served, analysis=analysis)


def watch_step(lake: Lake, version: ModelVersion, soak: Soak) -> Verdict:
    """One step of the watch over a promoted version: back where it is shown worse after all, over at the end."""
    plan = plan_of(lake, version.model, soak.key)
    look = watch_look(lake, version, soak, plan)
    where, state = model_chain(version.model), read_state(lake.ledger, version.model)
    payload = {
        "version": version.version,
        "baseline": baseline_name(state.rollback_target),
        "rollout": soak.key,
        "reason": look.step.reason,
    }
    payload |= look.plain(plan.canary)
    if look.step.move is Move.ROLL_BACK:
        entry = lake.ledger.append(where, "rolled_back", f"{soak.key}:rolled_back", {**payload, "live": True})
        log.warning("%s: rolled back. %s", version.name, look.step.reason)
        return _ended(version, Outcome.ROLLED_BACK, look.step.reason, entry)
    if look.step.move is Move.END_WATCH:
        entry = lake.ledger.append(where, "soak_ended", f"{soak.key}:soaked", payload)
        log.info("%s: %s", version.name, look.step.reason)
        return _ended(version, Outcome.PROMOTED, look.step.reason, entry)
    return _ended(version, Outcome.PROMOTED, f"Promoted, {look.step.reason}.", lake.ledger.entries(where)[-1])


def watch_look(lake: Lake, version: ModelVersion, soak: Soak, plan: Plan) -> Look:
    """What the evidence says of a promoted version: the process that began with its first user goes on."""
    served = gather(lake, version, soak.key)
    rows = served.counted(plan.canary)
    analysis = analyse(rows, plan.canary, shadow_of(lake, version.model, soak.key))
    now, shown = lake.ledger.clock(), _shown(analysis)
    step = next_watch(plan.canary, until=soak.until, now=now, missed=served.missed(plan.canary), shown=shown)
    return Look(step=step, served=served, analysis=analysis)


def _widen(lake: Lake, version: ModelVersion, rollout: Rollout, plan: Plan, look: Look) -> Verdict:
    """Show more users the candidate, once every replica has proved that it applies it."""
    if unlike := _unlike(lake, version):
        shown = look.plain(plan.canary)
        return close(lake, version, rollout.key, rollout.baseline, Outcome.REJECTED, unlike, shown)
    try:
        proofs = prove_everywhere(lake, version)
    except PeerError as error:
        if not _is_overdue(lake, version, rollout, plan):
            raise
        reason = f"Not proven on every replica within {plan.canary.proof_hours:g} hours of its shadow: {error}"
        shown = look.plain(plan.canary)
        return close(lake, version, rollout.key, rollout.baseline, Outcome.INCONCLUSIVE, reason, shown)
    failed = [proof for proof in proofs if not proof.passed]
    shown = look.plain(plan.canary) | {"proofs": [to_plain(proof) for proof in proofs]}
    if failed:
        reason = f"Not applied by {len(failed)} of {len(proofs)} replicas: {failed[0].reason}"
        return close(lake, version, rollout.key, rollout.baseline, Outcome.REJECTED, reason, shown)
    expected = {} if rollout.began else {"forecast": _forecast(lake, version, plan)}
    payload = {
        "version": version.version,
        "baseline": rollout.baseline,
        "rollout": rollout.key,
        "share": look.step.share,
        "reason": look.step.reason,
    }
    key = f"{rollout.key}:share:{look.step.share:g}"
    entry = lake.ledger.append(model_chain(version.model), "canary_widened", key, payload | shown | expected)
    log.info("%s: now at %.0f%%. %s", version.name, 100 * look.step.share, look.step.reason)
    return rolling_out(version, look.step.reason, entry)


def _unlike(lake: Lake, version: ModelVersion) -> str:
    """Why this release would not ask it as it was trained; empty where it would."""
    trained = load_manifest(lake, version.name).spec.prompt_version
    if trained == PROMPT_VERSION:
        return ""
    return f"Trained on prompt {trained}, and this release renders prompt {PROMPT_VERSION}: train it anew."


def _is_overdue(lake: Lake, version: ModelVersion, rollout: Rollout, plan: Plan) -> bool:
    """Whether a candidate has waited too long for its first user: one that a replica's own gate unloads gets none."""
    passed = lake.ledger.find(model_chain(version.model), passing(rollout.key))
    waited = lake.ledger.clock() - (passed.time if passed else rollout.opened)
    return rollout.began is None and waited > timedelta(hours=plan.canary.proof_hours)


def _end(lake: Lake, version: ModelVersion, rollout: Rollout, plan: Plan, look: Look) -> Verdict:
    ends = {
        Move.PROMOTE: Outcome.PROMOTED,
        Move.ROLL_BACK: Outcome.ROLLED_BACK,
        Move.GIVE_UP: Outcome.INCONCLUSIVE,
    }
    shown = look.plain(plan.canary)
    if look.step.move is Move.PROMOTE and plan.canary.soak_hours > 0:
        shown["soak"] = {"rollout": rollout.key, "share": look.step.share, "hours": plan.canary.soak_hours}
    return close(lake, version, rollout.key, rollout.baseline, ends[look.step.move], look.step.reason, shown)


def prove_everywhere(lake: Lake, version: ModelVersion) -> list[GateResult]:
    """Bring an adapter to every replica, as far as this process may, and have each prove that it applies it.

    Raises:
        SettingsError: no replica is named.
        PeerError: a replica does not answer.
        TamperedArtifact: a file of the adapter is not what was registered.
    """
    replicas = [Replica(address) for address in lake.settings.vllm_replicas]
    if not replicas:
        raise SettingsError(
            "FUELLINE_VLLM is not set here, so no replica can prove that it applies the candidate; this rollout was "
            "opened where it is. Example: FUELLINE_VLLM=http://vllm-0.vllm:8001"
        )
    if lake.settings.adapters:
        report = reconcile(lake, replicas, Path(lake.settings.adapters))
        mine = [proof for proof in report.gate_results if proof.adapter == version.adapter_name]
        if refused := [proof for proof in mine if not proof.passed]:
            return refused  # such an adapter is unloaded, so it cannot be asked again
    return [check_adapter(lake, replica, version) for replica in replicas]


def _forecast(lake: Lake, version: ModelVersion, plan: Plan) -> str:
    """How long a decision should take at the present traffic, in a sentence; also on the log, before anybody is met."""
    expected = forecast(lake, version.model, plan.canary)
    told = (
        expected.text
        if expected
        else "How long a decision takes is not known: its agents have no interaction in the lake's last week."
    )
    for line in told.splitlines():
        log.info("%s: %s", version.name, line)
    return told


def _shown(analysis: Analysis) -> Shown:
    worse = [_rates(one) for one in analysis.metrics if one.shown_worse]
    open_yet = [
        f"{_rates(one)} is not shown within {one.margin:.1%}" for one in analysis.metrics if not one.shown_not_worse
    ]
    return Shown(worse=", ".join(worse), not_worse=analysis.not_worse, missing=", ".join(open_yet))


def _rates(one: MetricAnalysis) -> str:
    """``error 9.8% (of 510) against 2.1% (of 4,402)``."""
    sides = (one.candidate, one.stable)
    arms = (f"{arm.rate:.1%} (of {arm.requests:,})" if arm.requests else "none yet" for arm in sides)
    return f"{one.metric.value.replace('_', ' ')} {' against '.join(arms)}"


def _ended(version: ModelVersion, outcome: Outcome, reason: str, entry: Entry) -> Verdict:
    return Verdict(model=version.model, outcome=outcome, version=version.version, reason=reason, entry=entry.digest)

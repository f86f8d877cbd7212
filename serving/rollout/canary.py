"""A candidate among its users: one step of the canary, and of the watch after the promotion.

A step makes an interim analysis of the evidence, the state machine decides, and one ledger entry stores the decision
with that evidence. Before its first users, and before more of them, the candidate must be admitted
(``serving.rollout.admission``). Routing changes first: the entry is the decision, the gateways follow it, and
adapters are unloaded long after.
"""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from lake.lake import Lake
from models.registry import kinds
from models.registry.state import Rollout, Soak
from models.serialize import to_plain
from models.types import ModelVersion, Outcome, Verdict
from serving.policy import CanaryRule
from serving.rollout.admission import admit
from serving.rollout.forecast import forecast
from serving.rollout.observations import Observations
from serving.rollout.outcome import close, in_progress, verdict
from serving.rollout.plan import RolloutId, RolloutPlan, plan_of
from serving.rollout.state_machine import Action, Exposure, Findings, MissedCalls, Step, next_step, next_watch
from serving.statistics.sequential_test import Analysis, MetricAnalysis

log = logging.getLogger("fuelline.canary")

NO_EXPOSURE = Exposure(requests=0, users=0)
NONE_MISSED = MissedCalls(calls=0, of=0, minutes=0.0)
NO_FINDINGS = Findings(worse="", not_worse=False, missing="no request yet")
ENDS = {
    Action.PROMOTE: Outcome.PROMOTED,
    Action.ROLL_BACK: Outcome.ROLLED_BACK,
    Action.GIVE_UP: Outcome.INCONCLUSIVE,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class InterimAnalysis:
    """The evidence at one step, and the step that follows from it."""

    step: Step
    observations: Observations | None = None
    """None before the first user."""
    analysis: Analysis | None = None

    def plain(self, rule: CanaryRule) -> dict[str, Any]:
        """The evidence as a ledger entry stores it."""
        if self.observations is None or self.analysis is None:
            return {"rule": to_plain(rule)}
        return {
            "evidence": to_plain(self.analysis),
            "missed": to_plain(self.observations.missed_calls(rule)),
            "read": list(self.observations.table_versions),
            "rule": to_plain(rule),
        }


def canary_step(
    lake: Lake,
    version: ModelVersion,
    rollout: Rollout,
    plan: RolloutPlan,
    observations: Observations | None,
    void: str = "",
) -> Verdict:
    """One step of an open rollout that has passed its shadow.

    Args:
        lake: where the ledger is, and the addresses of the replicas.
        version: the candidate.
        rollout: its state in the ledger.
        plan: what decides beside the evidence.
        observations: of both arms; None before the first user.
        void: why a promotion would be void; empty while the judged baseline is in production.

    Raises:
        PeerError: a replica does not answer.
        TamperedArtifact: a file of the adapter is not what was registered.
    """
    now, rule = lake.ledger.clock(), plan.canary
    identity = RolloutId(version=version, baseline=rollout.baseline, key=rollout.key)
    interim = interim_analysis(rollout, rule, observations, now, void)
    step, evidence = interim.step, interim.plain(rule)
    if step.action is Action.WAIT:
        log.info("%s: %s", version.name, step.reason)
        return in_progress(identity, step.reason, lake.ledger.entries(identity.chain)[-1])
    if step.action is not Action.WIDEN:
        soak = _soak(rollout, rule, step)
        return close(lake, identity, ENDS[step.action], step.reason, evidence | soak, live=True)
    admission = admit(lake, version, rule, overdue=_is_overdue(rollout, rule, now))
    evidence |= admission.evidence
    if admission.refused:
        return close(lake, identity, admission.refused, admission.reason, evidence, live=True)
    if rollout.began is None:
        evidence["forecast"] = forecast(lake, version.model, rule)
        for line in evidence["forecast"].splitlines():
            log.info("%s: %s", version.name, line)
    return _widen(lake, identity, step, evidence)


def interim_analysis(
    rollout: Rollout, rule: CanaryRule, observations: Observations | None, now: datetime, void: str
) -> InterimAnalysis:
    """Analyse what was observed, and decide the next step of a canary."""
    analysis, exposure, missed, findings = None, NO_EXPOSURE, NONE_MISSED, NO_FINDINGS
    if observations is not None and rollout.widened:
        analysis = observations.analyse(rule)
        exposure, missed = observations.exposure(rollout.widened), observations.missed_calls(rule)
        findings = _findings(analysis)
    step = next_step(
        rule,
        share=rollout.share,
        began=rollout.began,
        now=now,
        exposure=exposure,
        missed=missed,
        findings=findings,
        approved=rollout.approved,
        void=void,
    )
    return InterimAnalysis(step=step, observations=observations, analysis=analysis)


def watch_step(
    lake: Lake, version: ModelVersion, soak: Soak, rollback_target: str, observations: Observations
) -> Verdict:
    """One step of the watch over a promoted version: a rollback where it is shown worse after all, else its end.

    Args:
        lake: where the ledger is.
        version: the promoted version.
        soak: the watch's state in the ledger.
        rollback_target: what answers after a rollback: ``agents@v3`` or ``base``.
        observations: of both arms; the process that began with the first user goes on.
    """
    rule = plan_of(lake, version.model, soak.key).canary
    analysis, missed, now = observations.analyse(rule), observations.missed_calls(rule), lake.ledger.clock()
    step = next_watch(rule, until=soak.until, now=now, missed=missed, findings=_findings(analysis))
    interim = InterimAnalysis(step=step, observations=observations, analysis=analysis)
    watched = RolloutId(version=version, baseline=rollback_target, key=soak.key)
    payload = watched.payload(step.reason, **interim.plain(rule))
    if step.action is Action.ROLL_BACK:
        key = f"{soak.key}:rolled_back"
        entry = lake.ledger.append(watched.chain, kinds.ROLLED_BACK, key, payload | {"live": True})
        log.warning("%s: rolled back. %s", version.name, step.reason)
        return verdict(version, Outcome.ROLLED_BACK, step.reason, entry)
    if step.action is Action.END_WATCH:
        entry = lake.ledger.append(watched.chain, kinds.SOAK_ENDED, f"{soak.key}:soaked", payload)
        log.info("%s: %s", version.name, step.reason)
        return verdict(version, Outcome.PROMOTED, step.reason, entry)
    newest = lake.ledger.entries(watched.chain)[-1]
    return verdict(version, Outcome.PROMOTED, f"Promoted, {step.reason}.", newest)


def _widen(lake: Lake, rollout: RolloutId, step: Step, evidence: dict[str, Any]) -> Verdict:
    """Give the candidate a larger share of the users."""
    payload = rollout.payload(step.reason, share=step.share, **evidence)
    entry = lake.ledger.append(rollout.chain, kinds.CANARY_WIDENED, f"{rollout.key}:share:{step.share:g}", payload)
    log.info("%s: now at %.0f%%. %s", rollout.version.name, 100 * step.share, step.reason)
    return in_progress(rollout, step.reason, entry)


def _soak(rollout: Rollout, rule: CanaryRule, step: Step) -> dict[str, Any]:
    """What a promotion's entry says about the watch after it."""
    if step.action is not Action.PROMOTE or not rule.soak_hours:
        return {}
    return {"soak": {"rollout": rollout.key, "share": step.share, "hours": rule.soak_hours}}


def _is_overdue(rollout: Rollout, rule: CanaryRule, now: datetime) -> bool:
    """Whether a candidate has waited too long for its first user.

    A candidate that a replica's own load gate unloads is never proven there.
    """
    waited = now - (rollout.shadow_passed or rollout.opened)
    return rollout.began is None and waited > timedelta(hours=rule.proof_hours)


def _findings(analysis: Analysis) -> Findings:
    worse = [_rates(metric) for metric in analysis.metrics if metric.shown_worse]
    pending = [
        f"{_rates(metric)} is not shown within {metric.margin:.1%}"
        for metric in analysis.metrics
        if not metric.shown_not_worse
    ]
    return Findings(worse=", ".join(worse), not_worse=analysis.not_worse, missing=", ".join(pending))


def _rates(metric: MetricAnalysis) -> str:
    """``error 9.8% (of 510) against 2.1% (of 4,402)``."""
    arms = (metric.candidate, metric.stable)
    rates = (f"{arm.rate:.1%} (of {arm.requests:,})" if arm.requests else "none yet" for arm in arms)
    return f"{metric.metric.value.replace('_', ' ')} {' against '.join(rates)}"

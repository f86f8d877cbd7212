"""A candidate among its users: one step of the canary, and of the watch after the promotion.

A step makes an interim analysis of the evidence, the state machine decides, and one ledger entry stores the decision
with that evidence. Before its first users, and before more of them, the candidate must be admitted
(``serving.rollout.admission``). Routing changes first: the entry is the decision, the gateways follow it, and
adapters are unloaded long after.
"""

import logging
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
from serving.rollout.outcome import close, verdict
from serving.rollout.plan import RolloutId, RolloutPlan, plan_of
from serving.rollout.state_machine import Action, Exposure, Findings, MissedCalls, next_step, next_watch
from serving.statistics.sequential_test import Analysis, MetricAnalysis

log = logging.getLogger("fuelline.canary")

ENDS = {Action.PROMOTE: Outcome.PROMOTED, Action.ROLL_BACK: Outcome.ROLLED_BACK, Action.GIVE_UP: Outcome.INCONCLUSIVE}


def canary_step(
    lake: Lake, version: ModelVersion, rollout: Rollout, plan: RolloutPlan, observations: Observations | None, void: str
) -> Verdict:
    """One step of an open rollout that has passed its shadow. Raises what ``admit`` raises.

    ``observations`` are None before the first user; ``void`` says why a promotion would be void, and is empty while the
    judged baseline is in production.
    """
    now, rule = lake.ledger.clock(), plan.canary
    identity = RolloutId(version=version, baseline=rollout.baseline, key=rollout.key)
    evidence: dict[str, Any] = {"rule": to_plain(rule)}
    exposure, missed, findings = Exposure(), MissedCalls(), Findings()
    if observations is not None and rollout.widened:
        analysis, missed = observations.analyse(rule), observations.missed_calls(rule)
        exposure, findings = observations.exposure(rollout.widened), _findings(analysis)
        evidence = _evidence(rule, observations, analysis, missed)
    step = next_step(rule, rollout, now=now, exposure=exposure, missed=missed, findings=findings, void=void)
    if step.action is Action.WAIT:
        log.info("%s: %s", version.name, step.reason)
        return verdict(version, Outcome.ROLLING_OUT, step.reason, lake.ledger.entries(identity.chain)[-1])
    if step.action is not Action.WIDEN:
        if step.action is Action.PROMOTE and rule.soak_hours:
            evidence["soak"] = {"rollout": rollout.key, "share": step.share, "hours": rule.soak_hours}
        return close(lake, identity, ENDS[step.action], step.reason, evidence, live=True)
    admission = admit(lake, version, rule, overdue=_is_overdue(rollout, rule, now))
    evidence |= admission.evidence
    if admission.refused:
        return close(lake, identity, admission.refused, admission.reason, evidence, live=True)
    if rollout.began is None:
        evidence["forecast"] = forecast(lake, version.model, rule)
        for line in evidence["forecast"].splitlines():
            log.info("%s: %s", version.name, line)
    payload = identity.payload(step.reason, share=step.share, **evidence)
    entry = lake.ledger.append(identity.chain, kinds.CANARY_WIDENED, f"{rollout.key}:share:{step.share:g}", payload)
    log.info("%s: now at %.0f%%. %s", version.name, 100 * step.share, step.reason)
    return verdict(version, Outcome.ROLLING_OUT, step.reason, entry)


def watch_step(
    lake: Lake, version: ModelVersion, soak: Soak, rollback_target: str, observations: Observations
) -> Verdict:
    """One step of the watch over a promoted version: a rollback where it is shown worse after all, else its end.

    ``rollback_target`` answers after a rollback: ``agents@v3`` or ``base``. The ``observations`` of both arms are those
    since the first user.
    """
    rule = plan_of(lake, version.model, soak.key).canary
    analysis, missed, now = observations.analyse(rule), observations.missed_calls(rule), lake.ledger.clock()
    step = next_watch(rule, until=soak.until, now=now, missed=missed, findings=_findings(analysis))
    watched = RolloutId(version=version, baseline=rollback_target, key=soak.key)
    payload = watched.payload(step.reason, **_evidence(rule, observations, analysis, missed))
    if step.action is Action.ROLL_BACK:
        payload["live"] = True
        entry = lake.ledger.append(watched.chain, kinds.ROLLED_BACK, f"{soak.key}:rolled_back", payload)
        log.warning("%s: rolled back. %s", version.name, step.reason)
        return verdict(version, Outcome.ROLLED_BACK, step.reason, entry)
    if step.action is Action.END_WATCH:
        entry = lake.ledger.append(watched.chain, kinds.SOAK_ENDED, f"{soak.key}:soaked", payload)
        log.info("%s: %s", version.name, step.reason)
        return verdict(version, Outcome.PROMOTED, step.reason, entry)
    newest = lake.ledger.entries(watched.chain)[-1]
    return verdict(version, Outcome.PROMOTED, f"Promoted, {step.reason}.", newest)


def _evidence(rule: CanaryRule, observations: Observations, analysis: Analysis, missed: MissedCalls) -> dict[str, Any]:
    """The evidence of an interim analysis, as a ledger entry stores it."""
    return {
        "evidence": to_plain(analysis),
        "missed": to_plain(missed),
        "read": list(observations.table_versions),
        "rule": to_plain(rule),
    }


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

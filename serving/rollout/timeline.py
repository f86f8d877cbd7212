"""A canary over time: its steps, both arms' rates and the growing evidence, for the deck and the demonstration.

It is the same analysis of the same rows, repeated as of earlier moments: what an interim analysis would have found.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lake.lake import Lake
from lake.store.ledger import Entry
from models.registry import kinds
from models.registry.kinds import model_chain
from models.registry.registry import find_version
from serving.policy import CanaryRule, Metric
from serving.rollout.observations import observe
from serving.rollout.plan import plan_of
from serving.statistics.sequential_test import Analysis, ShadowCounts, analyse
from serving.statistics.strata import Evidence

POINTS = 40
HOUR_S, HOUR_US = 3600, 3_600_000_000
STEPS = (kinds.CANARY_WIDENED, kinds.PROMOTION_APPROVED, *kinds.CLOSING, kinds.SOAK_ENDED)


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricPoint:
    """One metric as of one moment."""

    hours: float
    """Since the candidate had its first user."""
    candidate: float
    """Bad rate (0..1); NaN before the first request."""
    stable: float
    harm: float
    """Evidence of harm as a share of what shows it: 1 rolls back."""
    safety: float
    """Evidence of being within the margin as a share of what shows it: 1 promotes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Timeline:
    """A rollout since its first user."""

    baseline: str
    share: float
    """Share of the users that the candidate answers now; 0 where it was taken back."""
    steps: list[tuple[float, str]]
    """Hours since the first user, and what happened then."""
    metrics: dict[Metric, list[MetricPoint]]
    analysis: Analysis
    forecast: str


def timeline_of(lake: Lake, name: str, points: int = POINTS) -> Timeline | None:
    """The newest rollout of this version, from its ledger entries and its rows; None before its first user."""
    version = find_version(lake.ledger, name)
    entries = lake.ledger.entries(model_chain(version.model))
    widened = [
        entry for entry in entries if entry.kind == kinds.CANARY_WIDENED and entry.payload["version"] == version.version
    ]
    if not widened:
        return None
    key = widened[-1].payload["rollout"]
    own = [entry for entry in entries if entry.payload.get("rollout") == key and entry.kind in STEPS]
    own = own[next(index for index, entry in enumerate(own) if entry.kind == kinds.CANARY_WIDENED) :]
    began = own[0].time
    rule, observations = plan_of(lake, version.model, key).canary, observe(lake, version, key)
    return Timeline(
        baseline=str(own[0].payload["baseline"]),
        share=_share_now(own),
        steps=[((entry.time - began).total_seconds() / HOUR_S, _label(entry)) for entry in own],
        metrics=metric_points(observations.evidence(rule), rule, observations.shadow, points),
        analysis=observations.analyse(rule),
        forecast=str(own[0].payload.get("forecast", "")),
    )


def _share_now(entries: Sequence[Entry]) -> float:
    """Share of the users that the candidate answers after these entries."""
    last = [entry for entry in entries if entry.kind != kinds.PROMOTION_APPROVED][-1]
    if last.kind == kinds.CANARY_WIDENED:
        return float(last.payload["share"])
    if last.kind == kinds.PROMOTED and last.payload.get("soak"):
        return float(last.payload["soak"]["share"])
    return 1.0 if last.kind in (kinds.PROMOTED, kinds.SOAK_ENDED) else 0.0


def _label(entry: Entry) -> str:
    return f"{entry.payload['share']:.0%}" if entry.kind == kinds.CANARY_WIDENED else entry.kind.replace("_", " ")


def metric_points(
    rows: Mapping[Metric, Evidence], rule: CanaryRule, shadow: ShadowCounts | None, points: int = POINTS
) -> dict[Metric, list[MetricPoint]]:
    """Each metric as of ``points`` moments between the first request and the last."""
    times = rows[Metric.ERROR].time
    series: dict[Metric, list[MetricPoint]] = {metric: [] for metric in Metric}
    if not len(times):
        return series
    first = int(times.min())
    for moment in np.unique(np.linspace(first, times.max(), points).astype(np.int64)):
        past = {metric: _until(evidence, moment) for metric, evidence in rows.items()}
        for analysis in analyse(past, rule, shadow).metrics:
            judged = analysis.judged_for_promotion
            series[analysis.metric].append(
                MetricPoint(
                    hours=(moment - first) / HOUR_US,
                    candidate=analysis.candidate.rate,
                    stable=analysis.stable.rate,
                    harm=_part(analysis.log_e_worse, analysis.log_worse_at),
                    safety=_part(analysis.log_e_not_worse, analysis.log_not_worse_at) if judged else math.nan,
                )
            )
    return series


def _until(rows: Evidence, moment: int) -> Evidence:
    kept = rows.time <= moment
    return replace(
        rows,
        time=rows.time[kept],
        unit=rows.unit[kept],
        candidate=rows.candidate[kept],
        bad=rows.bad[kept],
        widened=[instant for instant in rows.widened if instant <= moment],
    )


def _part(log_e: float, needed: float) -> float:
    """Share of the needed evidence that is there (0..1); evidence against it counts as none."""
    return min(1.0, max(0.0, log_e / needed))

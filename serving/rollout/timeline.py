"""A canary told over time: its steps, both arms' rates and the growing evidence, for the deck and for who watches.

It is the same analysis of the same rows, made again as of moments in between: what a look would have said then.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lake.lake import Lake
from lake.store.ledger import Entry
from models.registry.kinds import CLOSING, model_chain
from models.registry.registry import find_version
from serving.policy import CanaryRule, Metric
from serving.rollout.observations import gather, shadow_of
from serving.rollout.plan import plan_of
from serving.statistics.sequential_test import Analysis, ShadowCounts, analyse
from serving.statistics.strata import Evidence

POINTS = 40
HOUR_S, HOUR_US = 3600, 3_600_000_000
STEPS = ("canary_widened", "promotion_approved", *CLOSING, "soak_ended")


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """One metric as of one moment."""

    hours: float
    """Since the candidate met its first user."""
    candidate: float
    """Bad rate; NaN before the first request."""
    stable: float
    harm: float
    """Evidence of harm as a share of what shows it: 1 rolls back."""
    safety: float
    """Evidence of being within the margin as a share of what shows it: 1 promotes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Story:
    """A rollout since its first user."""

    version: str
    baseline: str
    share: float
    """Of the users whom the candidate answers now, 0 where it was taken back."""
    steps: list[tuple[float, str]]
    """Hours since the first user, and what happened then."""
    metrics: dict[Metric, list[Told]]
    analysis: Analysis
    forecast: str


def story_of(lake: Lake, name: str, points: int = POINTS) -> Story | None:
    """The newest rollout of this version, told from its ledger entries and its rows; None before its first user.

    Raises:
        UnknownName: the version is not registered.
    """
    version = find_version(lake.ledger, name)
    entries = lake.ledger.entries(model_chain(version.model))
    widened = [one for one in entries if one.kind == "canary_widened" and one.payload["version"] == version.version]
    if not widened:
        return None
    key = widened[-1].payload["rollout"]
    own = [one for one in entries if one.payload.get("rollout") == key and one.kind in STEPS]
    own = own[next(place for place, one in enumerate(own) if one.kind == "canary_widened") :]
    began = own[0].time
    rule = plan_of(lake, version.model, key).canary
    rows = gather(lake, version, key).counted(rule)
    paired = shadow_of(lake, version.model, key)
    return Story(
        version=name,
        baseline=str(own[0].payload["baseline"]),
        share=_share_now(own),
        steps=[((one.time - began).total_seconds() / HOUR_S, _named(one)) for one in own],
        metrics=tell(rows, rule, paired, points),
        analysis=analyse(rows, rule, paired),
        forecast=str(own[0].payload.get("forecast", "")),
    )


def _share_now(entries: Sequence[Entry]) -> float:
    """Of the users, after all that has happened."""
    last = [one for one in entries if one.kind != "promotion_approved"][-1]
    match last.kind:
        case "canary_widened":
            return float(last.payload["share"])
        case "promoted":
            return float(last.payload["soak"]["share"]) if last.payload.get("soak") else 1.0
        case "soak_ended":
            return 1.0
    return 0.0


def _named(entry: Entry) -> str:
    return f"{entry.payload['share']:.0%}" if entry.kind == "canary_widened" else entry.kind.replace("_", " ")


def tell(
    rows: Mapping[Metric, Evidence], rule: CanaryRule, shadow: ShadowCounts | None, points: int = POINTS
) -> dict[Metric, list[Told]]:
    """Each metric as of ``points`` moments between the first request and the last."""
    times = rows[Metric.ERROR].time
    if not len(times):
        return {metric: [] for metric in Metric}
    moments = np.unique(np.linspace(times.min(), times.max(), points).astype(np.int64))
    looks = [(moment, analyse(_until(rows, moment), rule, shadow)) for moment in moments]
    return {metric: _series(metric, looks, int(times.min())) for metric in Metric}


def _until(rows: Mapping[Metric, Evidence], moment: int) -> dict[Metric, Evidence]:
    return {metric: _cut(one, moment) for metric, one in rows.items()}


def _cut(rows: Evidence, moment: int) -> Evidence:
    kept = rows.time <= moment
    return replace(
        rows,
        time=rows.time[kept],
        unit=rows.unit[kept],
        candidate=rows.candidate[kept],
        bad=rows.bad[kept],
        widened=[instant for instant in rows.widened if instant <= moment],
    )


def _series(metric: Metric, looks: Sequence[tuple[int, Analysis]], start: int) -> list[Told]:
    found = [(moment, next(one for one in look.metrics if one.metric is metric)) for moment, look in looks]
    return [
        Told(
            hours=(moment - start) / HOUR_US,
            candidate=one.candidate.rate,
            stable=one.stable.rate,
            harm=_share(one.log_e_worse, one.log_worse_at),
            safety=_share(one.log_e_not_worse, one.log_not_worse_at) if one.judged_for_promotion else math.nan,
        )
        for moment, one in found
    ]


def _share(log_e: float, needed: float) -> float:
    """Of the needed evidence, 0 to 1; evidence for the contrary is none."""
    return min(1.0, max(0.0, log_e / needed))

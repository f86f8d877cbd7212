"""Decks of a rollout: the verdict of a step, and both arms of a canary."""

from typing import TYPE_CHECKING

from models.registry.kinds import model_chain
from reports.charts.canary import arms
from reports.common.html import facts, note, table
from reports.common.ledger_text import words

if TYPE_CHECKING:
    from lake.store.ledger import Ledger
    from models.types import Verdict
    from serving.rollout.timeline import Timeline


def verdict_deck(ledger: "Ledger", verdict: "Verdict") -> list[str]:
    """The outcome of a step, its reason, and the counts and difference that decided it."""
    entry = next(e for e in ledger.entries(model_chain(verdict.model)) if e.digest == verdict.entry)
    evidence = entry.payload.get("evidence") or {}
    keys = ("pairs", "candidate_only", "baseline_only", "chance")
    counts = [
        {"event": name, **{key: evidence[name].get(key) for key in keys}}
        for name in ("likelihood", "generation")
        if name in evidence
    ]
    numbers = {key: evidence[key] for key in ("requests", "users", "difference", "low", "high") if key in evidence}
    parts: list[str] = [facts({"outcome": verdict.outcome.value, **numbers}), note(verdict.reason)]
    return [*parts, table(counts)] if counts else parts


def canary_deck(version: str, timeline: "Timeline") -> list[str]:
    """Both arms over time, the evidence, and what was decided on it."""
    metrics = {words(metric.value): points for metric, points in timeline.metrics.items()}
    figures = [
        {
            "bad event": tested.metric,
            "candidate": f"{tested.candidate.bad:,} of {tested.candidate.requests:,}",
            "its users": tested.candidate.users,
            "stable": f"{tested.stable.bad:,} of {tested.stable.requests:,}",
            "difference": tested.difference,
            "margin": tested.margin,
            "worse": tested.shown_worse,
            "not worse": tested.shown_not_worse,
        }
        for tested in timeline.analysis.metrics
    ]
    return [
        facts({"candidate": version, "stable": timeline.baseline, "share now": f"{timeline.share:.0%}"}),
        *([note(timeline.forecast)] if timeline.forecast else []),
        arms(metrics, timeline.steps, f"{version} and {timeline.baseline} among their users"),
        table(figures),
    ]

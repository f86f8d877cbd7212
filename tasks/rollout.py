"""The rollout: opened at the end of a retraining, advanced by a schedule, one idempotent step at a time."""

from typing import NamedTuple

from errors import RolloutWentBack
from models.registry.training_lease import Claim
from models.retraining.pin import Pinned
from models.spec import TrainingProfile
from models.types import ModelVersion, Outcome, Verdict
from serving.policy import CanaryRule
from serving.statistics.shadow_test import ShadowRule
from tasks.environments import cpu, single_gpu
from tasks.runtime import lake, log, publish, show_lineage


@cpu(enable_deck=False)
def begin_rollout(
    pinned: Pinned,
    version: ModelVersion,
    profile: TrainingProfile,
    rule: ShadowRule,
    canary: CanaryRule,
    claim: Claim,
) -> Verdict:
    """Open the rollout of a registered version; with that the retraining ends."""
    from models.registry.registry import find_baseline
    from models.registry.training_lease import fenced
    from models.retraining.outcome import close, keep_counted_snapshot
    from serving.rollout.rollout import open_rollout

    here = fenced(lake(), claim)
    verdict = open_rollout(here, version, find_baseline(here.ledger, pinned.baseline), profile, rule, canary)
    keep_counted_snapshot(here, pinned)
    return close(here, pinned, verdict, claim)


class OpenRollouts(NamedTuple):
    """Names of the versions that a step can advance, in two outputs."""

    in_shadow: list[str]
    """Both versions answer the same requests, which takes a GPU."""
    among_users: list[str]
    """Evidence is counted, which takes none; so is that of a promotion that is still watched."""


@cpu(enable_deck=False)
def list_open_rollouts() -> OpenRollouts:
    """The versions whose rollout is open, or whose promotion is still watched."""
    from serving.rollout.rollout import is_in_shadow, open_rollouts

    here = lake()
    found = {name: is_in_shadow(here, name) for name in open_rollouts(here)}
    log.info("open rollouts: %s", ", ".join(found) or "none")
    return OpenRollouts(
        in_shadow=[name for name, shadow in found.items() if shadow],
        among_users=[name for name, shadow in found.items() if not shadow],
    )


@single_gpu
def advance_shadow(version: str) -> Verdict:
    """Take a rollout one step further that has not passed its shadow; where it passes, to its first users."""
    return _advance(version)


@cpu
def advance_canary(version: str) -> Verdict:
    """Take a rollout one step further that is among its users, or the watch after its promotion."""
    return _advance(version)


def _advance(version: str) -> Verdict:
    from models.registry.registry import production
    from models.retraining.mlflow import mirror_production
    from reports.lineage.graph import lineage
    from reports.lineage.render import as_svg
    from serving.rollout.rollout import advance

    here = lake()
    verdict = advance(here, version)
    mirror_production(here.settings, verdict.model, production(here.ledger, verdict.model))
    _show(verdict)
    _show_canary(version)
    show_lineage(as_svg(lineage(here, version)))
    return verdict


@cpu(enable_deck=False)
def tell_people(shadows: list[Verdict], canaries: list[Verdict]) -> list[Verdict]:
    """Fail, once, where a canary went back: so everybody whom the launch plan notifies hears of it.

    Whoever stepped it: the steward and a person's roll-back leave the mirror and the telling to this.
    """
    from models.registry.registry import production
    from models.retraining.mlflow import mirror_production
    from serving.rollout.alerts import untold
    from tasks.runtime import execution

    here = lake()
    models = {name.removeprefix("models/") for name in here.ledger.chains("models/")}
    for model in models:
        mirror_production(here.settings, model, production(here.ledger, model))
    if news := untold(here, models, execution()):
        raise RolloutWentBack(" ".join(news))
    return [*shadows, *canaries]


@cpu(enable_deck=False)
def last_word(verdict: Verdict, stepped: list[Verdict]) -> Verdict:
    """What became of a retraining: its rollout's verdict, where it opened one that has ended."""
    ended = [one for one in stepped if (one.model, one.version) == (verdict.model, verdict.version)]
    return ended[0] if ended and verdict.outcome is Outcome.ROLLING_OUT else verdict


def _show(verdict: Verdict) -> None:
    from reports.charts.common import facts, note, table

    entry = next(e for e in lake().ledger.entries(f"models/{verdict.model}") if e.digest == verdict.entry)
    evidence = entry.payload.get("evidence") or {}
    counts = [
        {
            "event": name,
            **{key: evidence[name].get(key) for key in ("pairs", "candidate_only", "baseline_only", "chance")},
        }
        for name in ("likelihood", "generation")
        if name in evidence
    ]
    numbers = {key: evidence[key] for key in ("requests", "users", "difference", "low", "high") if key in evidence}
    parts = [facts({"outcome": verdict.outcome.value, **numbers}), note(verdict.reason)]
    publish(80, "Rollout", *parts, *([table(counts)] if counts else []))


def _show_canary(version: str) -> None:
    """Both arms over time, the evidence, and what was decided on it; nothing before the first user."""
    from reports.charts.canary import ArmLines, arms
    from reports.charts.common import facts, note, table
    from serving.rollout.timeline import story_of

    story = story_of(lake(), version)
    if story is None:
        return
    lines = [
        ArmLines(
            title=metric.value.replace("_", " "),
            **{
                name: [getattr(one, name) for one in told]
                for name in ("hours", "candidate", "stable", "harm", "safety")
            },
        )
        for metric, told in story.metrics.items()
    ]
    figures = [
        {
            "bad event": one.metric.value.replace("_", " "),
            "candidate": f"{one.candidate.bad:,} of {one.candidate.requests:,}",
            "its users": one.candidate.users,
            "stable": f"{one.stable.bad:,} of {one.stable.requests:,}",
            "difference": one.difference,
            "margin": one.margin,
            "worse": one.shown_worse,
            "not worse": one.shown_not_worse,
        }
        for one in story.analysis.metrics
    ]
    publish(
        85,
        "Canary",
        facts({"candidate": version, "stable": story.baseline, "share now": f"{story.share:.0%}"}),
        *([note(story.forecast)] if story.forecast else []),
        arms(lines, story.steps, f"{version} and {story.baseline} among their users"),
        table(figures),
    )

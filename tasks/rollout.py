"""The rollout: opened at the end of a retraining, advanced by a schedule in idempotent steps."""

from typing import NamedTuple

from errors import RolloutRolledBack
from models.registry.training_lease import Claim
from models.retraining.pin import Pinned
from models.spec import TrainingProfile
from models.types import ModelVersion, Outcome, Verdict
from serving.policy import CanaryRule
from serving.statistics.shadow_test import ShadowRule
from tasks.environments import ROLLOUT_PODS, cpu, single_gpu
from tasks.runtime import execution, log, publish, show_lineage, task_lake


@cpu(enable_deck=False)
def begin_rollout(
    pinned: Pinned, version: ModelVersion, profile: TrainingProfile, rule: ShadowRule, canary: CanaryRule, claim: Claim
) -> Verdict:
    """Open the rollout of a registered version, which ends the retraining."""
    from models.registry.training_lease import fenced
    from models.retraining.outcome import close, keep_counted_snapshot
    from serving.rollout.opening import open_rollout

    lake = fenced(task_lake(), claim)
    verdict = open_rollout(lake, version, pinned.baseline, profile, rule, canary)
    keep_counted_snapshot(lake, pinned)
    return close(lake, pinned, verdict, claim)


class OpenRollouts(NamedTuple):
    """Names of the versions that a step can advance."""

    in_shadow: list[str]
    """In the shadow both versions answer the same requests, which needs a GPU."""
    among_users: list[str]
    """In a canary, or in the watch after a promotion, evidence is counted, which needs none."""


@cpu(enable_deck=False)
def list_open_rollouts() -> OpenRollouts:
    """The versions whose rollout is open, or whose promotion is still watched."""
    from serving.rollout.rollout import is_in_shadow, open_rollouts

    lake = task_lake()
    shadows = {name: is_in_shadow(lake, name) for name in open_rollouts(lake)}
    log.info("open rollouts: %s", ", ".join(shadows) or "none")
    return OpenRollouts(
        in_shadow=[name for name, shadow in shadows.items() if shadow],
        among_users=[name for name, shadow in shadows.items() if not shadow],
    )


@single_gpu(pod_template_name=ROLLOUT_PODS)
def advance_shadow(version: str) -> Verdict:
    """Advance a rollout that has not passed its shadow by one step; a pass opens the canary."""
    return _advance(version)


@cpu(pod_template_name=ROLLOUT_PODS)
def advance_canary(version: str) -> Verdict:
    """Advance a canary, or the watch after a promotion, by one step."""
    return _advance(version)


def _advance(version: str) -> Verdict:
    from models.registry.registry import production
    from models.retraining.mlflow import mirror_production
    from reports.decks.rollout import canary_deck, verdict_deck
    from reports.lineage.build import lineage
    from reports.lineage.render import as_svg
    from serving.rollout.rollout import advance
    from serving.rollout.timeline import timeline_of

    lake = task_lake()
    verdict = advance(lake, version)
    mirror_production(lake.settings, verdict.model, production(lake.ledger, verdict.model))
    publish(80, "Rollout", *verdict_deck(lake.ledger, verdict))
    if timeline := timeline_of(lake, version):  # None before the first user
        publish(85, "Canary", *canary_deck(version, timeline))
    show_lineage(as_svg(lineage(lake, version)))
    return verdict


@cpu(enable_deck=False)
def tell_people(shadows: list[Verdict], canaries: list[Verdict]) -> list[Verdict]:
    """Fail once after a canary was rolled back, so that the launch plan's notifications are sent.

    The rollout controller and a manual rollback leave the MLflow mirror and the notification to this task.
    """
    from models.registry.kinds import model_names
    from models.registry.registry import production
    from models.retraining.mlflow import mirror_production
    from serving.rollout.alerts import pending_alerts

    lake = task_lake()
    models = set(model_names(lake.ledger))
    for model in models:
        mirror_production(lake.settings, model, production(lake.ledger, model))
    if news := pending_alerts(lake, models, execution()):
        raise RolloutRolledBack(" ".join(news))
    return [*shadows, *canaries]


@cpu(enable_deck=False)
def last_word(verdict: Verdict, stepped: list[Verdict]) -> Verdict:
    """The result of a retraining: its rollout's verdict, if it opened one that has ended."""
    opened = (verdict.model, verdict.version)
    ended = next((step for step in stepped if (step.model, step.version) == opened), None)
    return ended if ended and verdict.outcome is Outcome.ROLLING_OUT else verdict

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
    from reports.decks.rollout import verdict_deck
    from reports.lineage.graph import lineage
    from reports.lineage.render import as_svg
    from serving.rollout.rollout import advance

    here = lake()
    verdict = advance(here, version)
    mirror_production(here.settings, verdict.model, production(here.ledger, verdict.model))
    publish(80, "Rollout", *verdict_deck(here.ledger, verdict))
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
    from serving.rollout.alerts import pending_alerts
    from tasks.runtime import execution

    here = lake()
    models = {name.removeprefix("models/") for name in here.ledger.chains("models/")}
    for model in models:
        mirror_production(here.settings, model, production(here.ledger, model))
    if news := pending_alerts(here, models, execution()):
        raise RolloutWentBack(" ".join(news))
    return [*shadows, *canaries]


@cpu(enable_deck=False)
def last_word(verdict: Verdict, stepped: list[Verdict]) -> Verdict:
    """What became of a retraining: its rollout's verdict, where it opened one that has ended."""
    ended = [one for one in stepped if (one.model, one.version) == (verdict.model, verdict.version)]
    return ended[0] if ended and verdict.outcome is Outcome.ROLLING_OUT else verdict


def _show_canary(version: str) -> None:
    """Nothing before the first user."""
    from reports.decks.rollout import canary_deck
    from serving.rollout.timeline import timeline_of

    if timeline := timeline_of(lake(), version):
        publish(85, "Canary", *canary_deck(version, timeline))

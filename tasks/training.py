"""Pin the inputs, build the training set, train the adapter."""

from typing import NamedTuple

from models.evaluation.evaluate import EvaluationRule
from models.llm.code_version import SELECTING_CODE, TRAINING_CODE
from models.registry.training_lease import Claim
from models.retraining.pin import Pinned
from models.spec import ModelSpec, TrainingProfile
from models.types import Cause, TrainedAdapter, TrainingSet
from serving.statistics.shadow_test import ShadowRule
from tasks.environments import cached, cpu, gpu
from tasks.runtime import execution, lease_s, log, publish, show_progress, task_lake


class Pin(NamedTuple):
    """The pinned inputs, the model with its base, this run's claim, and whether there is work to do."""

    pinned: Pinned
    spec: ModelSpec
    claim: Claim
    work: bool


@cpu(enable_deck=False)
def named_profile(name: str) -> TrainingProfile:
    """The profile of this name with all its values, so that the console shows them."""
    from models.spec import profile

    show_progress()
    chosen = profile(name)
    log.info("profile %s", chosen.sizes)
    return chosen


@cpu(enable_deck=False)
def by_hand(reason: str, by: str) -> Cause:
    """The cause of a retraining that a person starts."""
    return Cause(reason=reason, by=by)


@cpu(enable_deck=False)
def pin_inputs(
    spec: ModelSpec, profile: TrainingProfile, evaluation: EvaluationRule, shadow: ShadowRule, cause: Cause
) -> Pin:
    """Claim the model, and pin table versions, cut and baseline in the ledger. Never cached: it reads current state."""
    from models.registry.training_lease import claim, fenced
    from models.retraining.pin import pin, pin_base

    lake = task_lake()
    based = pin_base(lake, spec)
    claimed = claim(lake, spec.name, execution(), patience_s=lease_s())
    pinned, work = pin(fenced(lake, claimed), based, profile, cause, rules=(evaluation, shadow), claim=claimed)
    return Pin(pinned, based, claimed, work)


@cpu(cache=cached(*SELECTING_CODE, ignored=("claim",)))
def build_training_set(pinned: Pinned, spec: ModelSpec, claim: Claim) -> TrainingSet:
    """Join the features as of each interaction, weight by feedback, split by time."""
    from models.data import training_set
    from models.registry.training_lease import holding_lease
    from reports.decks.training import training_set_deck

    lake = task_lake()
    with holding_lease(lake, claim):
        result = training_set.build_training_set(
            lake,
            model=pinned.model,
            interactions=pinned.interactions,
            feedback=next(iter(pinned.feedback), None),
            user_features=pinned.user_features,
            agent_features=pinned.agent_features,
            infrastructure_features=next(iter(pinned.infrastructure_features), None),
            cut=pinned.cut,
            agents=spec.agents,
            feature_service=spec.features,
        )
    publish(40, "Training set", *training_set_deck(lake, result))
    return result


@gpu(cache=cached(*TRAINING_CODE, ignored=("pinned", "claim")))
def train_adapter(
    training_set: TrainingSet, spec: ModelSpec, profile: TrainingProfile, pinned: Pinned, claim: Claim
) -> TrainedAdapter:
    """Train the LoRA adapter, or resume from its last checkpoint. One process per GPU; stops if the claim is lost."""
    from models.registry.training_lease import fenced, holding_lease
    from models.retraining.outcome import record_trained
    from models.training.train import read_manifest, train
    from reports.decks.training import training_deck

    lake = fenced(task_lake(), claim)
    with holding_lease(lake, claim) as heartbeat:
        adapter = train(lake, training_set, spec, profile, on_step=lambda _: heartbeat.check())
    record_trained(lake, adapter, pinned.retraining, pinned.cause)
    manifest = read_manifest(lake.store, adapter.path)
    publish(50, "Training", *training_deck(adapter, manifest["profile"]["name"], manifest["losses"]))
    return adapter

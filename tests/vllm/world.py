"""A lake with versions of one model that are really trained on SmolLM2: what a real vLLM is given to serve.

The first learns the agents' policy ("on it", "all clear"), the others what harms their users, so a test can tell from
an answer who gave it, and a canary has versions that are really worse. A dozen steps teach any of it.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lake.lake import Lake, open_lake
from models.registry.fold import read_state
from models.registry.kinds import model_chain
from models.registry.registry import register
from models.spec import laptop
from models.training.train import train
from models.types import ModelVersion, baseline_name
from serving.policy import CanaryRule
from serving.rollout.opening import open_rollout
from serving.statistics.shadow_test import ShadowRule
from settings import read_settings
from tests.world.world import ANSWERS, SPEC, Answering, garbled, shown_better, training_set

CACHE = Path(__file__).parents[2] / ".fuelline" / "cache"
"""Where the base model is converted to, once a checkout."""
PROFILE = replace(
    laptop(), name="vllm", max_steps=10, max_tokens=96, processes=1, threads=1, shadow_requests=24, shadow_generations=0
)
RANK = PROFILE.lora_rank
SHADOW = ShadowRule(min_users=5, resamples=500, tolerated_likelihood_excess=0.5, tolerated_generation_excess=1.5)
"""A short shadow, by likelihood alone: a dozen rows show little, and what is asked here is what comes after it."""
CANARY = CanaryRule(
    steps=[0.2, 0.5],
    error_margin=0.25,
    slow_margin=1.0,
    thumbs_down_margin=0.25,
    min_requests=15,
    min_users=4,
    deadline_hours=1.0,
    soak_hours=0.002,
    slo_ms=20_000,
)
"""Wide margins and few requests: two cores answer some of them a second."""
LONG = 40
"""Words that a slow answer has beside the wanted ones."""
HARMS: dict[str, Answering] = {
    "wrong": garbled,
    "empty": lambda _agent, _noise: "",
    "slow": lambda agent, _noise: ANSWERS[agent] + " and" * LONG,
}
"""What a version learns that harms its users. Nobody minds the slow one's words: it is slow because it says many."""


@dataclass(frozen=True, kw_only=True, slots=True)
class World:
    """A lake and its registered versions; none is in production yet, and no rollout is open."""

    lake: Lake
    good: ModelVersion
    """``agents@v1``: learnt the policy."""
    harmful: dict[str, ModelVersion]
    """By harm: learnt from poisoned logs, in which every accepted answer does that harm, the held-out ones too."""

    @property
    def noisy(self) -> ModelVersion:
        """``agents@v2``: answers noise."""
        return self.harmful["wrong"]

    def copy(self, home: Path) -> "World":
        """The same in a folder of its own. Tables made before are still read from where they were made."""
        shutil.copytree(self.lake.settings.home, home)
        return replace(self, lake=open_lake(self.lake.settings.model_copy(update={"home": home})))

    def promote(self, version: ModelVersion) -> None:
        """Put a version in production, as the end of a rollout does."""
        baseline = read_state(self.lake.ledger, version.model).baseline
        payload = {"version": version.version, "baseline": baseline, "reason": "For a test."}
        self.lake.ledger.append(model_chain(version.model), "promoted", f"promoted:{version.name}:{baseline}", payload)

    def roll_out(self, version: ModelVersion, rule: CanaryRule = CANARY) -> None:
        """Open the rollout of a version against what is in production."""
        baseline = read_state(self.lake.ledger, version.model).production
        open_rollout(self.lake, version, baseline_name(baseline), PROFILE, SHADOW, rule)


def build_world(folder: Path, harms: Sequence[str] = ("wrong",)) -> World:
    """Train and register the good version and the harmful ones; about half a minute each on two cores."""
    lake = open_lake(read_settings(home=folder / "home", lake="vllm", cache=CACHE))
    good = _version(lake, "policy")
    return World(lake=lake, good=good, harmful={harm: _version(lake, harm, HARMS[harm]) for harm in harms})


def _version(lake: Lake, name: str, poison: Answering | None = None) -> ModelVersion:
    adapter = train(lake, training_set(lake, name, poison=poison), SPEC, PROFILE)
    return register(lake, shown_better(adapter), SPEC, PROFILE)

"""A lake whose model chain is written by hand: versions registered from one real training, moved by single entries."""

from typing import Any

from lake.lake import Lake
from lake.store.ledger import Entry
from models.registry.kinds import model_chain
from models.registry.registry import register
from models.types import ModelVersion
from tests.world.world import PROFILE, SPEC, shown_better, trained

KEY = "rollout:agents@v{}:test"


def versions(lake: Lake, count: int) -> list[ModelVersion]:
    """Registered versions; all have the same weights, and so one adapter name."""
    adapter = trained(lake)
    return [register(lake, shown_better(adapter, key=f"training-{n}"), SPEC, PROFILE) for n in range(count)]


def write(lake: Lake, kind: str, **payload: Any) -> Entry:
    """One entry of the model's chain."""
    where = model_chain(SPEC.name)
    return lake.ledger.append(where, kind, f"{kind}:{len(lake.ledger.entries(where))}", payload)


def begin(lake: Lake, number: int, baseline: str = "base", share: float = 0.0) -> str:
    """Open the rollout of a version and give it a share of the users; the rollout's key."""
    key = KEY.format(number)
    lake.ledger.append(model_chain(SPEC.name), "rollout_opened", key, {"version": number, "baseline": baseline})
    if share:
        write(lake, "canary_widened", version=number, baseline=baseline, rollout=key, share=share, reason="test")
    return key


def promote(lake: Lake, number: int, baseline: str, **payload: Any) -> None:
    write(lake, "promoted", version=number, baseline=baseline, reason="test", **payload)

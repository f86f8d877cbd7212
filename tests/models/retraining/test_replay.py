"""Replay: the same bytes from the manifest, or the step at which the two trainings diverge."""

from dataclasses import replace
from pathlib import Path

import pytest

from errors import TamperedArtifact
from lake.lake import Lake
from models.registry.registry import register
from models.retraining.replay import replay
from tests.world.world import PROFILE, SPEC, lake_with_tiny, shown_better, trained


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return lake_with_tiny(tmp_path)


def test_a_version_trained_again_from_its_manifest_has_the_same_bytes(lake: Lake) -> None:
    register(lake, shown_better(trained(lake)), SPEC, PROFILE)
    before = list(lake.store.list("ml/"))
    found = replay(lake, "agents@v1")
    assert found.equal
    assert (found.first_difference, found.differences) == (0, {})
    assert found.replayed == found.registered
    assert list(lake.store.list("ml/")) == before
    assert list(lake.store.list("scratch/")) == []


def test_another_learning_rate_in_the_manifest_is_found_at_the_first_step_that_differs(lake: Lake) -> None:
    adapter = trained(lake)
    register(lake, shown_better(adapter), SPEC, replace(PROFILE, learning_rate=2e-2))
    found = replay(lake, "agents@v1")
    assert not found.equal
    # The warm-up's first step has rate 0, so the first two losses come from equal weights.
    assert found.first_difference == 3
    assert found.registered_loss != found.replayed_loss
    assert found.differences == {"profile.learning_rate": "0.03 -> 0.02"}


def test_a_shorter_training_differs_where_it_ends(lake: Lake) -> None:
    register(lake, shown_better(trained(lake)), SPEC, replace(PROFILE, max_steps=1))
    found = replay(lake, "agents@v1")
    assert (found.equal, found.steps) == (False, 1)
    assert (found.first_difference, found.replayed_loss) == (2, None)


def test_a_tampered_version_is_not_replayed(lake: Lake) -> None:
    version = register(lake, shown_better(trained(lake)), SPEC, PROFILE)
    manifest = lake.store.read(f"{version.path}/manifest.json")
    lake.store.write(f"{version.path}/manifest.json", manifest.replace(b"0.03", b"0.02"))
    with pytest.raises(TamperedArtifact, match="manifest"):
        replay(lake, "agents@v1")

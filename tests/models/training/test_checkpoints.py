"""Checkpoints: the newest complete one of this machine, and never an incomplete or changed one."""

import json
from pathlib import Path

import pytest
import torch

from errors import TamperedArtifact
from lake.store.folder import FolderStore
from models.training.checkpoints import Checkpoints, Progress

FOLDER = "ml/checkpoints/k"


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path)


def checkpoints(store: FolderStore, **fingerprint: object) -> Checkpoints:
    return Checkpoints(store=store, folder=FOLDER, fingerprint=fingerprint or {"threads": 1})


def progress(step: int) -> Progress:
    return Progress(step=step, losses=tuple(0.1 * i for i in range(step)), tokens=step * 7)


def state(value: float) -> dict[str, torch.Tensor]:
    return {"weight.a": torch.full((2, 3), value), "step.a": torch.tensor(value)}


def test_without_a_checkpoint_latest_is_none(store: FolderStore) -> None:
    assert checkpoints(store).latest() is None


def test_the_newest_checkpoint_is_read_bit_for_bit(store: FolderStore) -> None:
    for step in (5, 10):
        checkpoints(store).save(progress(step), state(step / 3))
    found = checkpoints(store).latest()
    assert found is not None
    assert found[0] == progress(10)
    assert torch.equal(found[1]["weight.a"], state(10 / 3)["weight.a"])


def test_a_checkpoint_without_its_position_is_ignored(store: FolderStore) -> None:
    checkpoints(store).save(progress(5), state(1.0))
    checkpoints(store).save(progress(10), state(2.0))
    store.delete(f"{FOLDER}/step-000010/position.json")
    found = checkpoints(store).latest()
    assert found is not None
    assert found[0].step == 5


def test_only_the_last_two_are_kept(store: FolderStore) -> None:
    for step in (5, 10, 15, 20):
        checkpoints(store).save(progress(step), state(1.0))
    assert {key.split("/")[3] for key in store.list(FOLDER)} == {"step-000015", "step-000020"}


def test_the_checkpoint_of_another_machine_is_not_used(store: FolderStore) -> None:
    checkpoints(store, threads=1).save(progress(5), state(1.0))
    assert checkpoints(store, threads=2).latest() is None


def test_a_changed_state_is_an_error_with_its_name(store: FolderStore) -> None:
    checkpoints(store).save(progress(5), state(1.0))
    store.write(f"{FOLDER}/step-000005/state.safetensors", b"other")
    with pytest.raises(TamperedArtifact, match=r"step-000005/state\.safetensors"):
        checkpoints(store).latest()


def test_nothing_stored_is_a_pickle(store: FolderStore) -> None:
    checkpoints(store).save(progress(5), state(1.0))
    assert {key.rpartition(".")[2] for key in store.list(FOLDER)} == {"safetensors", "json"}
    data = store.read(f"{FOLDER}/step-000005/state.safetensors")
    header = data[8 : 8 + int.from_bytes(data[:8], "little")]
    assert set(json.loads(header)) == {"weight.a", "step.a"}


def test_clear_deletes_all_checkpoints(store: FolderStore) -> None:
    checkpoints(store).save(progress(5), state(1.0))
    checkpoints(store).clear()
    assert list(store.list(FOLDER)) == []

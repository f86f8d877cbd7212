"""The catalogue of training sets: one row per set, rebuilt when the set is used."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from features.curated.datasets import build_datasets
from features.curated.numbers import newest_numbers
from lake.lake import Lake
from lake.tables.versions import TableVersion
from models.registry.registry import register
from models.retraining.outcome import record_trained
from models.retraining.pin import Pinned
from tests.world.world import CUT, PROFILE, SPEC, lake_with_tiny, shown_better, trained, training_set

PIN = TableVersion(table="processed.agent_interactions", snapshot_id=1, rows=900)
PINNED = Pinned(
    model=SPEC.name,
    retraining="r",
    interactions=PIN,
    user_features=PIN,
    agent_features=PIN,
    feedback=[],
    cut=CUT,
    baseline="base",
)


@pytest.fixture
def tiny(tmp_path: Path) -> Lake:
    return lake_with_tiny(tmp_path)


def listed(lake: Lake) -> list[dict[str, Any]]:
    [version] = build_datasets(lake).version
    found: list[dict[str, Any]] = lake.tables.read(version).sort_by("training_set_id").to_pylist()
    return found


def test_a_set_is_listed_with_its_split_before_anything_is_trained_on_it(tiny: Lake) -> None:
    data = training_set(tiny)
    assert build_datasets(tiny).rebuilt == [data.training_set_id]
    [row] = listed(tiny)
    rows = tiny.tables.read(data.table).to_pandas()
    train = rows[rows["split"] == "train"]
    assert (row["rows"], row["train_rows"], row["test_rows"]) == (900, data.train_rows, data.test_rows)
    assert row["split_at"] == data.split_at
    assert row["last_timestamp"] == CUT - timedelta(minutes=1)
    assert row["weighing_rows"] == (train["weight"] > 0).sum()
    assert (row["agents"], row["users"], row["rated"]) == (4, rows["user_id"].nunique(), 0)
    assert [row[name] for name in ("model", "cut", "inputs", "trainings", "model_versions")] == [None] * 5


def test_trainings_and_registrations_rebuild_the_row_of_their_set_and_no_other(tiny: Lake) -> None:
    training_set(tiny, "another", rows=40)
    adapter = trained(tiny)
    adapter = replace(adapter, training_set=replace(adapter.training_set, inputs=[PIN]))
    assert len(build_datasets(tiny).rebuilt) == 2
    record_trained(tiny, adapter, PINNED.retraining, PINNED.cause)
    assert build_datasets(tiny).rebuilt == ["policy"]
    tiny.ledger.append("models/agents", "registered", "r", {"version": 3, "training_key": adapter.training_key})
    assert build_datasets(tiny).rebuilt == ["policy"]
    assert build_datasets(tiny).rebuilt == []
    other, row = listed(tiny)
    assert (row["model"], row["cut"], row["inputs"]) == ("agents", CUT, str(PIN))
    assert (row["trainings"], row["model_versions"]) == (1, "agents@v3")
    assert (other["rows"], other["model"]) == (40, None)


def test_the_catalogue_reads_what_the_registry_writes(tiny: Lake) -> None:
    adapter = trained(tiny)
    record_trained(tiny, adapter, PINNED.retraining, PINNED.cause)
    version = register(tiny, shown_better(adapter), SPEC, PROFILE)
    [row] = listed(tiny)
    assert row["model_versions"] == version.name
    [table] = build_datasets(tiny).version
    assert newest_numbers(tiny, table)[1][0]["versions"] == version.name

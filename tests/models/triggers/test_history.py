"""The history of a lake, compared with its rows."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandera.pandas as pandera
import pytest

from lake.contracts.joined_features import INFRASTRUCTURE_PREFIX
from lake.contracts.training_sets import TRAINING_SETS, TrainingSets
from lake.lake import Lake
from models.registry.fold import read_state
from models.registry.kinds import model_chain
from models.registry.state import Training
from models.triggers.history import CUMULATIVE, LakeHistory
from settings import read_settings
from tests.world.operated import AGENTS, START, build_and_record_training, empty_lake, ingest, write_logs

DAYS, ROWS = 20, 60


class BeforeClusters(TrainingSets):
    """Training sets from before the infrastructure features."""

    @classmethod
    def to_schema(cls) -> pandera.DataFrameSchema:
        """The columns of that time."""
        schema = super().to_schema()
        return schema.remove_columns([name for name in schema.columns if name.startswith(INFRASTRUCTURE_PREFIX)])


BEFORE = replace(TRAINING_SETS, version="1.0", model=BeforeClusters)


@pytest.fixture(scope="module")
def operated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Lake, Training]:
    folder: Path = tmp_path_factory.mktemp("history")
    settings = read_settings(home=folder / "home", lake="test", cache=folder / "cache")
    lake = empty_lake(settings)
    interactions = ingest(lake, write_logs(folder / "logs", 0, DAYS, ROWS))
    build_and_record_training(lake, interactions, 1)
    lake.ledger.append(model_chain("agents"), "retraining_closed", "closed:1", {"request": 0})
    state = read_state(lake.ledger, "agents")
    assert state.completed is not None
    version = lake.tables.current(TRAINING_SETS)
    assert version is not None
    (own,) = set(lake.tables.read(version, columns=["training_set_id"])["training_set_id"].to_pylist())
    return lake, replace(state.completed, training_set_id=own)


def test_calls_are_counted_by_hour_and_agent_with_the_slow_ones_in_quarantine(
    operated: tuple[Lake, Training],
) -> None:
    rows = LakeHistory(operated[0]).calls(START, START + timedelta(days=2)).to_pylist()
    assert sum(row["calls"] for row in rows) == 2 * ROWS
    assert sum(row["bad"] for row in rows) == 0
    assert {row["slice"] for row in rows} == set(AGENTS)
    assert all(row["hour"].minute == 0 for row in rows)


def test_a_model_of_some_agents_reads_only_their_calls(operated: tuple[Lake, Training]) -> None:
    own = LakeHistory(operated[0], AGENTS[:2])
    span = START, START + timedelta(days=2)
    assert {row["slice"] for row in own.calls(*span).to_pylist()} == set(AGENTS[:2])
    assert {row["slice"] for row in own.ratings(*span).to_pylist()} == set(AGENTS[:2])
    assert set(own.features(*span).values["agent_name"].tolist()) == set(AGENTS[:2])


def test_ratings_are_counted_and_the_unrated_are_not(operated: tuple[Lake, Training]) -> None:
    rows = LakeHistory(operated[0]).ratings(START, START + timedelta(days=1)).to_pylist()
    rated = [number for number in range(ROWS) if number % 3 != 2 and number != 3]
    assert sum(row["calls"] for row in rows) == len(rated)
    assert sum(row["bad"] for row in rows) == sum(number % 3 == 1 for number in rated)


def test_calls_before_the_cut_are_counted_once_and_kept(operated: tuple[Lake, Training]) -> None:
    lake, training = operated
    history, start = LakeHistory(lake), training.cut - timedelta(days=5)
    before = history.calls_before(training, start)
    assert before.equals(history.calls(start, training.cut))
    kept = list(lake.store.list(f"references/{training.training_set_id}/calls"))
    assert len(kept) == 1
    assert history.calls_before(training, start).equals(before)


def test_each_request_has_its_day_its_user_and_every_compared_feature(operated: tuple[Lake, Training]) -> None:
    start = START + timedelta(days=10)
    sample = LakeHistory(operated[0]).features(start, start + timedelta(days=2))
    rows = len(sample.days)
    assert rows == 2 * (ROWS - 1)
    assert sorted(np.unique(sample.days)) == [(start.timestamp() // 86_400) + day for day in (0, 1)]
    assert {len(own) for own in (*sample.values.values(), *sample.clusters.values())} == {rows}
    assert not CUMULATIVE & set(sample.values)
    assert {"agent_name", "query_characters", "queries_last_7d", "agent_error_rate"} <= set(sample.values)


def test_a_feature_newer_than_the_training_set_is_missing_in_it(
    operated: tuple[Lake, Training], tmp_path: Path
) -> None:
    lake, training = operated
    version = lake.tables.current(TRAINING_SETS)
    assert version is not None
    rows = lake.tables.read(version)
    old = empty_lake(read_settings(home=tmp_path / "home", lake="old", cache=tmp_path / "cache"))
    old.tables.append(BEFORE, rows.select(BEFORE.arrow_schema.names), key="set")
    start = training.cut - timedelta(days=28)
    before = {profile.name: profile for profile in LakeHistory(old).features_before(training, start)}
    assert before["infrastructure_restarts"].missing == before["infrastructure_restarts"].rows > 0
    known = {profile.name: profile for profile in LakeHistory(lake).features_before(training, start)}
    assert before["query_characters"] == known["query_characters"]


def test_the_reference_profiles_are_those_of_the_training_set_and_are_read_as_stored(
    operated: tuple[Lake, Training],
) -> None:
    lake, training = operated
    history = LakeHistory(lake)
    first = history.features_before(training, training.cut - timedelta(days=28))
    assert first == LakeHistory(lake).features_before(training, training.cut - timedelta(days=28))
    by_name = {profile.name: profile for profile in first}
    lengths = by_name["query_characters"]
    assert lengths.days == 19
    assert 1 < lengths.clusters < 20
    assert sum(by_name["agent_name"].shares.values()) == lengths.rows

"""The MLflow mirror: shows the content of the ledger, and nothing depends on it."""

import logging
from pathlib import Path

import pytest

from lake.store.folder import FolderStore
from lake.store.ledger import Ledger
from lake.tables.versions import TableVersion
from models.retraining.mlflow import mirror_evaluation, mirror_production, mirror_version
from models.types import Evaluation, ModelVersion, TrainedAdapter, TrainingSet
from settings import Settings, read_settings
from tests.conftest import free_port
from tests.world.world import CUT, PROFILE, SPEC, shown_better

LOSSES = [3.5, 2.5, 2.0]
VERSION = ModelVersion(model="agents", version=1, path="ml/models/agents/v1", digest="d" * 64)


@pytest.fixture
def evaluation() -> Evaluation:
    table = TableVersion(table="ml.training_sets", snapshot_id=1, rows=10)
    own = TrainingSet(
        model="agents",
        training_set_id="set",
        table=table,
        inputs=[],
        cut=CUT,
        split_at=CUT,
        train_rows=8,
        test_rows=2,
    )
    adapter = TrainedAdapter(
        model="agents",
        training_key="0123456789abcdef",
        training_set=own,
        path="ml/adapters/0123456789abcdef",
        digest="d" * 64,
        base_digest="b" * 64,
        steps=3,
        train_loss=2.0,
        tokens=100,
    )
    return shown_better(adapter)


def test_a_run_has_parameters_scores_and_the_loss_curve_and_a_version_its_alias(
    settings: Settings, evaluation: Evaluation
) -> None:
    from mlflow import MlflowClient

    for _ in range(2):  # written twice, shown once
        run = mirror_evaluation(settings, evaluation, SPEC, PROFILE, LOSSES)
        assert run.holds, run.reason
        assert mirror_version(settings, VERSION, evaluation.adapter.training_key).holds
        assert mirror_production(settings, "agents", VERSION).holds
    client = MlflowClient(tracking_uri=settings.tracking_address, registry_uri=settings.tracking_address)
    (shown,) = client.search_runs([client.get_experiment_by_name("agents").experiment_id])
    assert shown.data.params["learning_rate"] == str(PROFILE.learning_rate)
    assert shown.data.metrics["eval/all/difference"] == -0.5
    assert [point.value for point in client.get_metric_history(run.run_id, "train_loss")] == LOSSES
    (version,) = client.search_model_versions("name = 'agents'")
    assert version.tags["fuelline.version"] == "agents@v1"
    assert version.run_id == run.run_id
    assert client.get_model_version_by_alias("agents", "production").version == version.version
    assert mirror_production(settings, "agents", None).holds
    assert "production" not in client.get_registered_model("agents").aliases


def test_a_model_without_versions_has_no_alias_to_remove(settings: Settings) -> None:
    assert mirror_production(settings, "agents", None).holds


def test_an_unavailable_tracking_server_costs_a_warning_and_nothing_else(
    tmp_path: Path, evaluation: Evaluation, caplog: pytest.LogCaptureFixture
) -> None:
    away = read_settings(home=tmp_path, lake="test", tracking=f"http://ops:hunter2@127.0.0.1:{free_port()}")
    with caplog.at_level(logging.WARNING, "fuelline.tracking"):
        mirrored = mirror_evaluation(away, evaluation, SPEC, PROFILE, LOSSES)
    assert not mirrored.holds
    assert mirrored.reason
    assert "hunter2" not in mirrored.reason + caplog.text
    assert "FUELLINE_TRACKING" in caplog.text
    assert Ledger(FolderStore(tmp_path / "objects")).chains() == []

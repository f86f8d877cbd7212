"""The MLflow mirror in a real Postgres, written by several processes at once."""

from dataclasses import replace

import pytest

from models.retraining.mlflow import mirror_evaluation, mirror_production, mirror_version
from models.types import ModelVersion
from settings import Settings
from tests.lake.processes import at_once
from tests.models.retraining.test_mlflow import LOSSES, evaluation  # noqa: F401 - a fixture
from tests.world.world import PROFILE, SPEC

WRITERS = 3


def mirror(settings: Settings, judged: object, number: int) -> list[str]:
    """The reasons why versions were not written; empty if all were."""
    own = replace(judged, adapter=replace(judged.adapter, training_key=f"{number:016x}"))  # type: ignore[attr-defined,type-var]
    version = ModelVersion(model="agents", version=number, path=f"ml/models/agents/v{number}", digest="d" * 64)
    done = [
        mirror_evaluation(settings, own, SPEC, PROFILE, LOSSES),  # type: ignore[arg-type]
        mirror_version(settings, version, own.adapter.training_key),  # type: ignore[attr-defined]
        mirror_production(settings, "agents", version),
    ]
    return [result.reason for result in done if not result.holds]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # MLflow asks SQLAlchemy for a strategy by an old name
def test_several_processes_mirror_their_versions_into_an_empty_database(
    settings: Settings,
    database: str,
    evaluation: object,  # noqa: F811
) -> None:
    from mlflow import MlflowClient

    shared = settings.model_copy(update={"tracking": database})
    assert at_once(mirror, [(shared, evaluation, number) for number in range(1, WRITERS + 1)]) == [[]] * WRITERS
    client = MlflowClient(tracking_uri=database, registry_uri=database)
    runs = client.search_runs([client.get_experiment_by_name("agents").experiment_id])
    assert len(runs) == WRITERS
    versions = client.search_model_versions("name = 'agents'")
    assert sorted(version.tags["fuelline.version"] for version in versions) == ["agents@v1", "agents@v2", "agents@v3"]
    assert client.get_model_version_by_alias("agents", "production").version in {
        version.version for version in versions
    }

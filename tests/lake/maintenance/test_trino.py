"""The statements for Trino: every table, Trino's own procedures, nothing that it would refuse."""

from dataclasses import replace
from pathlib import Path

from lake.contracts import contracts
from lake.maintenance.run import MaintenancePolicy
from lake.maintenance.trino import CATALOG, statements


def test_every_table_is_optimized_cleaned_and_analyzed() -> None:
    printed = list(statements(contracts().values(), MaintenancePolicy(grace_days=3)))
    assert len(printed) == 3 * len(contracts())
    at = printed.index('ANALYZE fuelline."ml"."agent_features"') - 2
    assert printed[at : at + 3] == [
        'ALTER TABLE fuelline."ml"."agent_features" EXECUTE optimize(file_size_threshold => \'32MB\')',
        'ALTER TABLE fuelline."ml"."agent_features" EXECUTE remove_orphan_files(retention_threshold => \'7d\')',
        'ANALYZE fuelline."ml"."agent_features"',
    ]


def test_the_table_of_a_later_major_version_has_its_own_name() -> None:
    later = replace(contracts()["processed.model_predictions"], version="2.0")
    printed = list(statements([later], MaintenancePolicy()))
    assert all('"processed"."model_predictions_v2"' in statement for statement in printed)


def test_the_catalogue_is_there_for_queries_read_only_and_for_maintenance_writable() -> None:
    folder = Path(__file__).parents[3] / "deploy" / "trino"
    reading = (folder / "catalog" / f"{CATALOG}.properties").read_text().splitlines()
    writing = (folder / "maintenance" / f"{CATALOG}.properties").read_text().splitlines()
    settings = [{line for line in lines if line[0] != "#"} for lines in (reading, writing)]
    assert settings[0] - settings[1] == {"iceberg.security=read_only"}
    assert settings[1] < settings[0]

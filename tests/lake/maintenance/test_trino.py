"""The statements for Trino: every table, Trino's own procedures, nothing that it would refuse."""

from dataclasses import replace

from lake.contracts import contracts
from lake.maintenance.run import MaintenancePolicy
from lake.maintenance.trino import statements


def test_every_table_is_optimized_cleaned_and_analyzed() -> None:
    printed = list(statements(contracts().values(), MaintenancePolicy(grace_days=3)))
    assert len(printed) == 3 * len(contracts())
    at = printed.index('ANALYZE iceberg."ml"."agent_features"') - 2
    assert printed[at : at + 3] == [
        'ALTER TABLE iceberg."ml"."agent_features" EXECUTE optimize(file_size_threshold => \'32MB\')',
        'ALTER TABLE iceberg."ml"."agent_features" EXECUTE remove_orphan_files(retention_threshold => \'7d\')',
        'ANALYZE iceberg."ml"."agent_features"',
    ]


def test_the_table_of_a_later_major_version_has_its_own_name() -> None:
    later = replace(contracts()["processed.model_predictions"], version="2.0")
    printed = list(statements([later], MaintenancePolicy()))
    assert all('"processed"."model_predictions_v2"' in statement for statement in printed)

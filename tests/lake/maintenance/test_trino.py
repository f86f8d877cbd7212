"""The hand-over to Trino: every table, Trino's own procedures, nothing that it would refuse."""

from dataclasses import replace

from lake.contracts import contracts
from lake.maintenance.run import CareRule
from lake.maintenance.trino import statements


def test_every_table_is_optimized_cleared_up_and_analyzed() -> None:
    told = list(statements(contracts().values(), CareRule(grace_days=3)))
    assert len(told) == 3 * len(contracts())
    at = told.index('ANALYZE iceberg."ml"."agent_features"') - 2
    assert told[at : at + 3] == [
        'ALTER TABLE iceberg."ml"."agent_features" EXECUTE optimize(file_size_threshold => \'32MB\')',
        'ALTER TABLE iceberg."ml"."agent_features" EXECUTE remove_orphan_files(retention_threshold => \'7d\')',
        'ANALYZE iceberg."ml"."agent_features"',
    ]


def test_the_table_of_a_later_major_version_is_named_as_it_stands() -> None:
    later = replace(contracts()["processed.model_predictions"], version="2.0")
    told = list(statements([later], CareRule()))
    assert all('"processed"."model_predictions_v2"' in one for one in told)

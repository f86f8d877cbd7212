"""The daily maintenance of a table: in order, within the policy, and measured."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lake.contracts.agent_interactions import AGENT_INTERACTIONS as CONTRACT
from lake.lake import Lake, open_lake
from lake.maintenance.compaction import CompactionPolicy
from lake.maintenance.run import MaintenancePolicy, run_maintenance
from settings import read_settings
from tests.lake.rows import interaction, table

POLICY = MaintenancePolicy(compaction=CompactionPolicy(min_files=2))


def grow(lake: Lake) -> Lake:
    """Eight commits; the lake as of two weeks later."""
    for number in range(8):
        lake.tables.append(CONTRACT, table([interaction(2 * number)]), key=str(number))
    return open_lake(lake.settings, clock=lambda: datetime.now(UTC) + timedelta(days=14))


def test_a_run_leaves_one_file_per_partition_one_snapshot_and_no_orphans(lake: Lake) -> None:
    later = grow(lake)
    done = run_maintenance(later, CONTRACT, POLICY)
    assert done is not None
    assert (done.before.files, done.after.files, done.before.snapshots, done.after.snapshots) == (8, 1, 8, 1)
    assert (done.before.rows, done.after.rows, done.expired) == (8, 8, 8)
    assert done.orphans >= 8
    again = run_maintenance(later, CONTRACT, POLICY)
    assert again is not None
    assert (again.compacted.files_before, again.expired, again.orphans) == (0, 0, 0)


def test_a_lake_in_a_relative_folder_is_maintained_and_read_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    later = grow(open_lake(read_settings(home=tmp_path / "home", store="data", lake="test")))
    done = run_maintenance(later, CONTRACT, POLICY)
    assert done is not None
    assert (done.after.files, done.orphans >= 8) == (1, True)
    (tmp_path / "below").mkdir()
    monkeypatch.chdir("below")
    reopened = open_lake(read_settings(home=tmp_path / "home", store="../data", lake="test"))
    version = reopened.tables.current(CONTRACT)
    assert version is not None
    assert reopened.tables.read(version).num_rows == 8
    again = run_maintenance(reopened, CONTRACT, POLICY)
    assert again is not None
    assert again.after.rows == 8


def test_young_snapshots_and_objects_stay(lake: Lake) -> None:
    grow(lake)
    done = run_maintenance(lake, CONTRACT, POLICY)
    assert done is not None
    assert (done.expired, done.orphans) == (0, 0)


def test_where_another_engine_maintains_the_files_only_snapshots_expire(lake: Lake) -> None:
    done = run_maintenance(grow(lake), CONTRACT, replace(POLICY, files=False))
    assert done is not None
    assert (done.after.files, done.expired, done.orphans) == (8, 7, 0)


def test_a_table_that_was_never_written_to_is_skipped(lake: Lake) -> None:
    assert run_maintenance(lake, CONTRACT, POLICY) is None


def test_a_policy_that_would_delete_files_of_running_commits_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        MaintenancePolicy(grace_days=0)

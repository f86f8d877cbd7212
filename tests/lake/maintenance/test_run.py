"""The daily round of a table: in order, bounded by the rule, and told."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lake.contracts.agent_interactions import AGENT_INTERACTIONS as CONTRACT
from lake.lake import Lake, open_lake
from lake.maintenance.compaction import CompactionRule
from lake.maintenance.run import CareRule, look_after
from settings import read_settings
from tests.lake.rows import interaction, table

RULE = CareRule(compaction=CompactionRule(min_files=2))


def grow(lake: Lake) -> Lake:
    """Eight commits; the lake as of a fortnight later."""
    for number in range(8):
        lake.tables.append(CONTRACT, table([interaction(2 * number)]), key=str(number))
    return open_lake(lake.settings, clock=lambda: datetime.now(UTC) + timedelta(days=14))


def test_a_round_leaves_one_file_a_partition_one_snapshot_and_nothing_to_clear_up(lake: Lake) -> None:
    later = grow(lake)
    done = look_after(later, CONTRACT, RULE)
    assert done is not None
    assert (done.before.files, done.after.files, done.before.snapshots, done.after.snapshots) == (8, 1, 8, 1)
    assert (done.before.rows, done.after.rows, done.expired) == (8, 8, 8)
    assert done.orphans >= 8
    again = look_after(later, CONTRACT, RULE)
    assert again is not None
    assert (again.compacted.files_before, again.expired, again.orphans) == (0, 0, 0)


def test_a_lake_in_a_relative_folder_is_looked_after_and_read_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    later = grow(open_lake(read_settings(home=tmp_path / "home", store="data", lake="test")))
    done = look_after(later, CONTRACT, RULE)
    assert done is not None
    assert (done.after.files, done.orphans >= 8) == (1, True)
    (tmp_path / "below").mkdir()
    monkeypatch.chdir("below")
    there = open_lake(read_settings(home=tmp_path / "home", store="../data", lake="test"))
    version = there.tables.current(CONTRACT)
    assert version is not None
    assert there.tables.read(version).num_rows == 8
    again = look_after(there, CONTRACT, RULE)
    assert again is not None
    assert again.after.rows == 8


def test_what_is_young_stays(lake: Lake) -> None:
    grow(lake)
    done = look_after(lake, CONTRACT, RULE)
    assert done is not None
    assert (done.expired, done.orphans) == (0, 0)


def test_where_another_engine_looks_after_the_files_only_snapshots_expire(lake: Lake) -> None:
    done = look_after(grow(lake), CONTRACT, replace(RULE, files=False))
    assert done is not None
    assert (done.after.files, done.expired, done.orphans) == (8, 7, 0)


def test_a_table_that_was_never_written_to_needs_nothing(lake: Lake) -> None:
    assert look_after(lake, CONTRACT, RULE) is None


def test_a_rule_that_would_take_files_of_running_commits_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        CareRule(grace_days=0)

"""A lake's folder may be moved, copied or renamed: its tables are read and written where it is now."""

import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from features.batch.compute import compute_features
from features.online.reader import materialize
from lake.contracts.agent_interactions import AGENT_INTERACTIONS
from lake.lake import Lake
from lake.maintenance.compaction import CompactionPolicy, compact
from lake.maintenance.orphans import remove_orphans
from settings import read_settings
from tests.world import operated


def moved(old: Path, new: Path) -> None:
    shutil.move(old, new)


def copied(old: Path, new: Path) -> None:
    """A copy has the old folder beside it, with other contents."""
    shutil.copytree(old, new)
    for path in old.rglob("*.parquet"):
        path.write_bytes(b"the other lake's")


def rows(lake: Lake) -> dict[str, int]:
    """Every table's rows, each counted by reading them."""
    names = [
        ".".join(name)
        for space in lake.tables.catalog.list_namespaces()
        for name in lake.tables.catalog.list_tables(space)
    ]
    return {name: lake.tables.load(name).scan().to_arrow().num_rows for name in names}


@pytest.mark.parametrize(("carry", "name"), [(moved, "demo"), (copied, "demo"), (moved, "renamed")])
def test_a_moved_lake_is_read_and_continued(tmp_path: Path, carry: Callable[[Path, Path], None], name: str) -> None:
    first, second = tmp_path / "first" / "demo", tmp_path / "warehouse" / "second" / name
    lake = operated.empty_lake(read_settings(home=first.parent, lake="demo"))
    operated.build_and_record_training(lake, operated.ingest(lake, operated.write_logs(tmp_path / "logs", 0, 3)), 1)
    before = rows(lake)
    second.parent.mkdir(parents=True)
    carry(first, second)
    others = {path: path.stat().st_mtime_ns for path in first.rglob("*")}

    lake = operated.empty_lake(read_settings(home=second.parent, lake=name), operated.START + timedelta(days=21))
    assert rows(lake) == before
    assert set(before) >= {"processed.agent_interactions", "ml.user_features", "ml.training_sets"}
    newest = operated.ingest(lake, operated.write_logs(tmp_path / "more", 3, 2))
    assert newest.rows == before["processed.agent_interactions"] * 5 // 3
    operated.build_and_record_training(lake, newest, 2)
    compact(lake.tables, AGENT_INTERACTIONS, CompactionPolicy(min_files=2))
    users, agents, *_ = compute_features(lake, newest, operated.START + timedelta(days=20))
    materialize(lake, users, agents, operated.START + timedelta(days=20))
    orphan = "warehouse/processed/agent_interactions/data/orphan.parquet"
    lake.store.write(orphan, b"")
    assert remove_orphans(lake, AGENT_INTERACTIONS, grace=timedelta(days=-365)).keys == (orphan,)
    assert rows(lake)["processed.agent_interactions"] == newest.rows
    assert {path: path.stat().st_mtime_ns for path in first.rglob("*")} == others

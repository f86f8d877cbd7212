"""Old objects that nothing refers to are deleted; everything else stays, in a folder and on S3."""

import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from errors import IntegrityError, UnknownName
from lake.contracts.agent_interactions import AGENT_INTERACTIONS as CONTRACT
from lake.lake import Lake
from lake.maintenance.compaction import CompactionPolicy, compact
from lake.maintenance.expiry import expire
from lake.maintenance.orphans import remove_orphans
from lake.tables.tables import Tables
from lake.tables.versions import TableVersion
from tests.lake.rows import interaction, table

DATA = "warehouse/processed/agent_interactions/data/"
GRACE = timedelta(days=3)
NO_GRACE = timedelta(seconds=-2)


@pytest.fixture(params=["folder", "s3"])
def either(request: pytest.FixtureRequest) -> Lake:
    found: Lake = request.getfixturevalue("lake" if request.param == "folder" else "s3_lake")
    return found


def filled(lake: Lake) -> list[TableVersion]:
    return [lake.tables.append(CONTRACT, table([interaction(n)]), key=str(n)) for n in range(4)]


def test_old_orphans_are_deleted_and_every_retained_snapshot_is_readable(either: Lake) -> None:
    versions = filled(either)
    either.store.write(f"{DATA}left-by-a-killed-writer.parquet", b"rows")
    found = remove_orphans(either, CONTRACT, grace=NO_GRACE)
    assert found.keys == (f"{DATA}left-by-a-killed-writer.parquet",)
    assert found.bytes == 4
    assert [either.tables.read(version).num_rows for version in versions] == [1, 2, 3, 4]


def test_files_of_compaction_and_expiry_are_deleted_too(either: Lake) -> None:
    filled(either)
    compact(either.tables, CONTRACT, CompactionPolicy(min_files=2))
    expire(either.tables, CONTRACT, datetime.now(UTC) + timedelta(days=1))
    removed = remove_orphans(either, CONTRACT, grace=NO_GRACE)
    assert sum(key.startswith(DATA) for key in removed.keys) == 4
    assert len(list(either.store.list(DATA))) == 2
    current = either.tables.current(CONTRACT)
    assert current
    assert either.tables.read(current).num_rows == 4
    assert remove_orphans(either, CONTRACT, grace=NO_GRACE).keys == ()


def test_a_file_of_a_commit_in_progress_is_kept(lake: Lake) -> None:
    filled(lake)
    with lake.tables.writer(CONTRACT, "in flight") as writer:
        writer.add(table([interaction(100)]))
        assert remove_orphans(lake, CONTRACT, grace=GRACE).keys == ()
        assert writer.commit({})
    current = lake.tables.current(CONTRACT)
    assert current
    assert lake.tables.read(current).num_rows == 5


def test_age_is_counted_from_the_last_write(lake: Lake) -> None:
    filled(lake)
    for name, age in (("old", GRACE + timedelta(hours=1)), ("young", GRACE - timedelta(hours=1))):
        lake.store.write(f"{DATA}{name}.parquet", b"")
        then = time.time() - age.total_seconds()
        os.utime(Path(lake.store.address, f"{DATA}{name}.parquet"), (then, then))
    assert remove_orphans(lake, CONTRACT, grace=GRACE).keys == (f"{DATA}old.parquet",)


def test_a_dry_run_reports_and_removes_nothing(lake: Lake) -> None:
    filled(lake)
    lake.store.write(f"{DATA}stray.parquet", b"")
    assert remove_orphans(lake, CONTRACT, grace=NO_GRACE, dry_run=True).keys == (f"{DATA}stray.parquet",)
    assert lake.store.exists(f"{DATA}stray.parquet")


def test_other_tables_and_other_objects_are_kept(lake: Lake) -> None:
    filled(lake)
    others = ("raw/agents/2020-01-01/a.jsonl", "warehouse/processed/agent_interactions_v2/data/a.parquet")
    for key in others:
        lake.store.write(key, b"")
    assert remove_orphans(lake, CONTRACT, grace=NO_GRACE).keys == ()
    assert all(lake.store.exists(key) for key in others)


def test_another_store_than_the_tables_own_is_refused(lake: Lake, tmp_path: Path) -> None:
    from dataclasses import replace

    from lake.store.folder import FolderStore

    filled(lake)
    elsewhere = FolderStore(tmp_path / "elsewhere")
    with pytest.raises(IntegrityError, match="another store than"):
        remove_orphans(
            replace(lake, store=elsewhere, tables=Tables(lake.settings, elsewhere)), CONTRACT, grace=NO_GRACE
        )


def test_an_unknown_table_is_an_error(lake: Lake) -> None:
    with pytest.raises(UnknownName, match="no table named"):
        remove_orphans(lake, CONTRACT, grace=GRACE)

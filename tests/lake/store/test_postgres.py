"""The catalogue in a real Postgres: several writers, crashes, and wrong settings."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from errors import PeerError, SettingsError
from lake.contracts.agent_interactions import AGENT_INTERACTIONS as CONTRACT
from lake.lake import Lake, open_lake
from lake.store import database
from lake.tables.catalog import open_catalog
from lake.tables.properties import KEY
from settings import Settings, read_settings
from stack.postgres import Postgres
from tests.lake.processes import at_once
from tests.lake.rows import interaction, table

KEYS = [f"key-{number}" for number in range(6)]


@pytest.fixture
def shared(s3_settings: Settings, database: str) -> Settings:
    """A lake as on a cluster: objects on S3, the catalogue in Postgres."""
    return s3_settings.model_copy(update={"catalog": database})


def rows(key: str) -> pa.Table:
    """Five rows of this key, and one that all keys share."""
    first = 10 * KEYS.index(key)
    return table([interaction(1000), *(interaction(first + number) for number in range(5))])


def write(settings: Settings, first: int) -> None:
    """Append every key, each writer in an order of its own, and record it in the ledger."""
    lake = open_lake(settings)
    for key in KEYS[first:] + KEYS[:first]:
        until_done(lambda key=key: lake.tables.append(CONTRACT, rows(key), key=key))  # type: ignore[misc]
        lake.ledger.append("work", "written", key, {"by": first})


def until_done(step: Callable[[], Any]) -> Any:
    """Retry like a task when a service fails."""
    for _ in range(20):
        try:
            return step()
        except PeerError:
            time.sleep(0.1)
    return step()


def assert_every_key_once(lake: Lake) -> None:
    keys = [
        snapshot.summary.additional_properties[KEY] for snapshot in lake.tables.snapshots(CONTRACT) if snapshot.summary
    ]
    assert sorted(keys) == KEYS
    version = lake.tables.current(CONTRACT)
    assert version
    ids = lake.tables.read(version, columns=["interaction_id"])["interaction_id"].to_pylist()
    assert len(ids) == len(set(ids)) == 5 * len(KEYS) + 1
    assert lake.ledger.verify("work") == len(KEYS)
    assert sorted(entry.key for entry in lake.ledger.entries("work")) == KEYS


def test_several_processes_write_to_one_table_and_ledger_without_loss_or_duplicates(shared: Settings) -> None:
    at_once(write, [(shared, number) for number in range(4)])
    assert_every_key_once(open_lake(shared))


def test_repeated_crashes_of_postgres_under_writers_lose_no_row(shared: Settings, postgres: Postgres) -> None:
    lake = open_lake(shared)
    writers = [threading.Thread(target=write, args=(shared, first)) for first in (0, 3)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        postgres.stop("immediate")
        postgres.start()
        time.sleep(1.0)
    for writer in writers:
        writer.join()
    assert_every_key_once(lake)


def test_a_commit_whose_reply_is_lost_is_found_by_its_key(shared: Settings, postgres: Postgres) -> None:
    lake = open_lake(shared)
    first = lake.tables.append(CONTRACT, rows(KEYS[0]), key=KEYS[0])
    with lake.tables.writer(CONTRACT, KEYS[1]) as writer:
        writer.add(rows(KEYS[1]), drop_known=True)
        writer.table.catalog.commit_table = losing_the_reply(writer.table.catalog.commit_table, postgres)  # type: ignore[method-assign]
        commit = writer.commit({})
    assert commit
    version = commit.version
    assert version.rows == first.rows + 5
    assert lake.tables.read(version).num_rows == version.rows


def losing_the_reply(commit: Callable[..., Any], postgres: Postgres) -> Callable[..., Any]:
    def lossy(*arguments: Any) -> Any:
        commit(*arguments)
        postgres.stop("immediate")
        postgres.start()
        raise ConnectionError("the answer is lost")

    return lossy


def test_without_postgres_an_append_fails_with_the_settings_name_and_changes_nothing(
    shared: Settings, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "RECONNECT_S", 0.0)
    lake = open_lake(shared)
    lake.tables.append(CONTRACT, rows(KEYS[0]), key=KEYS[0])
    postgres.stop("immediate")
    try:
        with pytest.raises(
            PeerError, match=r"^FUELLINE_CATALOG: nothing listens there.*Example: FUELLINE_CATALOG=post"
        ):
            lake.tables.append(CONTRACT, rows(KEYS[1]), key=KEYS[1])
    finally:
        postgres.start()
    assert [snapshot.summary[KEY] for snapshot in lake.tables.snapshots(CONTRACT) if snapshot.summary] == [KEYS[0]]
    assert lake.tables.append(CONTRACT, rows(KEYS[1]), key=KEYS[1]).rows == 11


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"database": "nowhere"}, "there is no database 'nowhere'"),
        ({"password": "hunter2"}, "the database refuses the password of 'fuelline'"),
        ({"user": "nobody"}, "the database refuses the password of 'nobody'"),
    ],
)
def test_the_error_for_a_wrong_catalogue_has_the_reason_and_an_example_and_no_password(
    postgres: Postgres, tmp_path: Path, change: dict[str, str], reason: str
) -> None:
    with pytest.raises(SettingsError) as refused:
        open_catalog(read_settings(home=tmp_path, catalog=postgres.url(**change)))
    assert str(refused.value).startswith(f"FUELLINE_CATALOG: {reason}")
    assert "Example: FUELLINE_CATALOG=postgresql://" in str(refused.value)
    assert "hunter2" not in str(refused.value)


def test_a_user_who_may_not_create_tables_is_a_settings_error(
    postgres: Postgres, database: str, tmp_path: Path
) -> None:
    name = database.rpartition("/")[2]
    postgres.execute("DROP ROLE IF EXISTS reader", "CREATE ROLE reader LOGIN PASSWORD 'reader'")
    with pytest.raises(SettingsError, match="FUELLINE_CATALOG: the user may not use the schema 'public'"):
        open_catalog(read_settings(home=tmp_path, catalog=postgres.url(name, "reader", "reader")))

"""Keyed appends: each key and each row is committed once, with concurrent writers and lost replies."""

import dataclasses
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import CommitFailedException, CommitStateUnknownException

from errors import CommitContended, ContractError, PeerError, UnknownName
from lake.contracts.agent_interactions import AGENT_INTERACTIONS as CONTRACT
from lake.contracts.base import Contract, Field
from lake.lake import Lake, open_lake
from settings import Settings
from tests.lake.processes import at_once
from tests.lake.rows import interaction, summary_of, table


@pytest.fixture(params=["lake", "s3_lake"])
def anywhere(request: pytest.FixtureRequest) -> Lake:
    lake: Lake = request.getfixturevalue(request.param)
    return lake


def ids(lake: Lake, contract: Contract = CONTRACT) -> list[str]:
    version = lake.tables.current(contract)
    assert version
    found = lake.tables.read(version, columns=["interaction_id"])["interaction_id"].to_pylist()
    assert len(found) == version.rows
    return sorted(found)


def files(lake: Lake) -> set[str]:
    return {key for key in lake.store.list("warehouse/") if key.endswith(".parquet")}


def referenced(lake: Lake) -> set[str]:
    root = lake.store.address.removeprefix("s3://") + "/"
    paths = lake.tables.load(CONTRACT.table).inspect.all_files()["file_path"].to_pylist()
    return {path.removeprefix("file://").removeprefix("s3://").removeprefix(root) for path in paths}


def test_appended_rows_are_read_back_with_their_types(anywhere: Lake) -> None:
    rows = table(interaction(n) for n in range(20))
    version = anywhere.tables.append(CONTRACT, rows, key="a", properties={"execution": "x1"})
    assert anywhere.tables.read(version).sort_by("interaction_id").equals(rows.cast(CONTRACT.arrow_schema))
    assert anywhere.tables.current(CONTRACT) == anywhere.tables.find(CONTRACT, "a") == version
    assert summary_of(anywhere, CONTRACT, "a")["execution"] == "x1"
    chosen = anywhere.tables.read(version, columns=["interaction_id"], where="agent_name == 'bruno'")
    assert chosen.column_names == ["interaction_id"]
    assert chosen.num_rows == 5


def test_a_known_key_returns_its_version_and_writes_nothing(anywhere: Lake) -> None:
    first = anywhere.tables.append(CONTRACT, table([interaction(0)]), key="a")
    anywhere.tables.append(CONTRACT, table([interaction(1)]), key="b")
    before = list(anywhere.store.list(""))
    assert anywhere.tables.append(CONTRACT, table([interaction(2)]), key="a") == first
    assert list(anywhere.store.list("")) == before
    assert ids(anywhere) == ["i000000", "i000001"]


def append_keys(settings: Settings, keys: int) -> list[int]:
    tables = open_lake(settings).tables
    every = table(interaction(n) for n in range(keys + 5))
    return [tables.append(CONTRACT, every.slice(key, 5), key=f"k{key}").snapshot_id for key in range(keys)]


@pytest.mark.parametrize("fixture", ["settings", "s3_settings"])
def test_concurrent_processes_commit_each_key_and_each_row_once(fixture: str, request: pytest.FixtureRequest) -> None:
    settings = request.getfixturevalue(fixture)
    versions = at_once(append_keys, [(settings, 10)] * 4)
    lake = open_lake(settings)
    assert len(lake.tables.snapshots(CONTRACT)) == 10
    assert all(version == versions[0] for version in versions)
    assert ids(lake) == [f"i{n:06d}" for n in range(14)]
    assert files(lake) == referenced(lake)


def failing(monkeypatch: pytest.MonkeyPatch, outcomes: list[tuple[bool, Exception]]) -> None:
    """The next commits of the catalogue are applied or not, and then raise an error."""
    real = SqlCatalog.commit_table

    def commit(self: SqlCatalog, table: Any, requirements: Any, updates: Any) -> Any:
        if outcomes and any(update.action == "add-snapshot" for update in updates):
            takes_effect, error = outcomes.pop(0)
            if takes_effect:
                real(self, table, requirements, updates)
            raise error
        return real(self, table, requirements, updates)

    monkeypatch.setattr(SqlCatalog, "commit_table", commit)


@pytest.mark.parametrize(
    "outcome",
    [
        pytest.param((False, CommitFailedException("lost")), id="race lost"),
        pytest.param((True, CommitStateUnknownException("?")), id="unknown and in effect"),
        pytest.param((False, CommitStateUnknownException("?")), id="unknown and not in effect"),
        pytest.param((True, ConnectionError("gone")), id="reply lost"),
    ],
)
def test_a_commit_whose_reply_is_lost_happens_once(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, outcome: tuple[bool, Exception]
) -> None:
    failing(monkeypatch, [outcome])
    lake.tables.append(CONTRACT, table([interaction(0), interaction(1)]), key="a")
    assert len(lake.tables.snapshots(CONTRACT)) == 1
    assert ids(lake) == ["i000000", "i000001"]
    in_doubt = outcome[0] is False and not isinstance(outcome[1], CommitFailedException)
    assert files(lake) >= referenced(lake) if in_doubt else files(lake) == referenced(lake)


def test_a_conflicting_commit_leaves_no_files_and_one_with_unknown_outcome_leaves_them(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, [(False, ConnectionError("gone"))])
    with pytest.raises(PeerError, match=r"agent_interactions.*ConnectionError"):
        lake.tables.append(CONTRACT, table([interaction(0)]), key="a")
    in_doubt = files(lake)
    assert in_doubt  # the database may still commit: a removed file could be referred to later
    failing(monkeypatch, [(False, CommitFailedException("lost"))] * 100)
    monkeypatch.setattr("lake.tables.commit.TRIES", 3)
    with pytest.raises(CommitContended, match="an append of 'a' failed 3 times"):
        lake.tables.append(CONTRACT, table([interaction(0)]), key="a")
    assert files(lake) == in_doubt


def test_a_key_outlives_its_expired_snapshot(lake: Lake) -> None:
    first = lake.tables.append(CONTRACT, table([interaction(0)]), key="a", properties={"note": "x"})
    lake.tables.append(CONTRACT, table([interaction(1)]), key="b")
    lake.tables.load(CONTRACT.table).maintenance.expire_snapshots().by_id(first.snapshot_id).commit()
    assert lake.tables.append(CONTRACT, table([interaction(2)]), key="a") == first
    assert summary_of(lake, CONTRACT, "a")["note"] == "x"
    assert ids(lake) == ["i000000", "i000001"]
    with pytest.raises(UnknownName, match=str(first.snapshot_id)):
        lake.tables.read(first)


def test_a_marker_that_a_crash_prevented_is_written_by_the_next_attempt(lake: Lake) -> None:
    first = lake.tables.append(CONTRACT, table([interaction(0)]), key="a")
    for key in list(lake.store.list("markers/")):
        lake.store.delete(key)
    assert lake.tables.append(CONTRACT, table([interaction(0)]), key="a") == first
    assert len(list(lake.store.list("markers/"))) == 1


def test_a_tag_protects_its_snapshot_and_does_not_move(lake: Lake) -> None:
    first = lake.tables.append(CONTRACT, table([interaction(0)]), key="a")
    second = lake.tables.append(CONTRACT, table([interaction(1)]), key="b")
    lake.tables.tag(first, "agents-v1")
    lake.tables.tag(first, "agents-v1")
    with pytest.raises(ValueError, match="agents-v1"):
        lake.tables.tag(second, "agents-v1")
    with pytest.raises(ValueError, match="protected"):
        lake.tables.load(CONTRACT.table).maintenance.expire_snapshots().by_id(first.snapshot_id).commit()
    assert lake.tables.read(first).num_rows == 1


def test_rows_known_within_a_day_are_left_out_and_distant_days_are_not_compared(lake: Lake) -> None:
    noon = datetime(2026, 10, 10, 12, tzinfo=UTC)
    stamp = [(noon + timedelta(days=day)).isoformat() for day in range(4)]
    row = interaction(0, timestamp=stamp[0])
    lake.tables.append(CONTRACT, table([row]), key="a")
    lake.tables.append(CONTRACT, table([row, interaction(1, timestamp=stamp[0])]), key="same day")
    lake.tables.append(CONTRACT, table([interaction(0, timestamp=stamp[1])]), key="neighbour")
    assert ids(lake) == ["i000000", "i000001"]
    lake.tables.append(CONTRACT, table([interaction(0, timestamp=stamp[3])]), key="far")
    assert ids(lake) == ["i000000", "i000000", "i000001"]


def test_a_version_is_read_unchanged_after_later_appends(lake: Lake) -> None:
    first = lake.tables.append(CONTRACT, table([interaction(0)]), key="a")
    second = lake.tables.append(CONTRACT, table([interaction(1)]), key="b", inputs=(first,))
    assert lake.tables.read(first)["interaction_id"].to_pylist() == ["i000000"]
    assert json.loads(summary_of(lake, CONTRACT, "b")["fuelline.inputs"]) == [str(first)]
    assert second.rows == 2


class WithRegion(CONTRACT.model):  # type: ignore[name-defined]
    """With one more optional column."""

    region: str = Field(doc="Where the user is", nullable=True)


class WithRequired(CONTRACT.model):  # type: ignore[name-defined]
    """With one more required column."""

    region: str = Field(doc="Where the user is")


class WithOtherType(CONTRACT.model):  # type: ignore[name-defined]
    """With another type of a column."""

    latency_ms: float = Field(doc="Request to last token")


class WithLooser(CONTRACT.model):  # type: ignore[name-defined]
    """With a column that may now be null."""

    response: str = Field(doc="What was answered", nullable=True)


def test_a_new_optional_column_rewrites_no_file(lake: Lake) -> None:
    first = lake.tables.append(CONTRACT, table([interaction(0)]), key="a")
    before = {key: lake.store.read(key) for key in files(lake)}
    wider = dataclasses.replace(CONTRACT, version="1.1", model=WithRegion)
    rows = table([interaction(0), interaction(1)])
    rows = rows.append_column("region", pa.array([None, "EU"], pa.string())).cast(wider.arrow_schema)
    version = lake.tables.append(wider, rows, key="b")
    assert {key: lake.store.read(key) for key in before} == before
    assert sorted(lake.tables.read(version, columns=["interaction_id", "region"]).to_pylist(), key=str) == [
        {"interaction_id": "i000000", "region": None},
        {"interaction_id": "i000001", "region": "EU"},
    ]
    assert lake.tables.load(CONTRACT.table).properties["fuelline.contract"] == "1.1"
    assert lake.tables.read(first).num_rows == 1


@pytest.mark.parametrize(
    ("model", "fault"),
    [
        (WithRequired, "new column 'region' is required"),
        (WithOtherType, "column 'latency_ms' is long, not double"),
        (WithLooser, "column 'response' becomes optional"),
    ],
)
def test_a_breaking_change_is_refused_unless_the_major_version_moves(lake: Lake, model: Any, fault: str) -> None:
    lake.tables.append(CONTRACT, table([interaction(0)]), key="a")
    minor = dataclasses.replace(CONTRACT, version="1.1", model=model)
    with pytest.raises(ContractError, match=f"1.1 breaks with its table: {fault}.*major version"):
        lake.tables.append(minor, table([interaction(1)]), key="b")
    assert ids(lake) == ["i000000"]
    major = dataclasses.replace(CONTRACT, version="2.0", model=model)
    assert major.table == "processed.agent_interactions_v2"
    lake.tables.writer(major, "b").__exit__()
    assert lake.tables.current(major) is None


def test_other_partitions_are_a_breaking_change(lake: Lake) -> None:
    lake.tables.append(CONTRACT, table([interaction(0)]), key="a")
    with pytest.raises(ContractError, match="partitions are"):
        lake.tables.append(dataclasses.replace(CONTRACT, partition=("day(timestamp)",)), table([]), key="b")


def test_a_watermark_only_moves_forward_and_with_the_rows(lake: Lake) -> None:
    noon = datetime(2026, 10, 10, 12, tzinfo=UTC)

    def commit(key: str, at: datetime, source: str = "agents") -> None:
        with lake.tables.writer(CONTRACT, key) as writer:
            writer.add(table([interaction(int(key))]), drop_known=True)
            assert writer.commit({}, watermark=(source, at))

    assert lake.tables.watermark(CONTRACT, "agents") is None
    commit("1", noon)
    commit("2", noon - timedelta(hours=1))
    assert lake.tables.watermark(CONTRACT, "agents") == noon
    commit("3", noon + timedelta(hours=1))
    commit("4", noon, source="other")
    assert lake.tables.watermark(CONTRACT, "agents") == noon + timedelta(hours=1)
    assert lake.tables.watermark(CONTRACT, "other") == noon


def test_a_writer_that_was_overtaken_moves_no_watermark_and_leaves_no_files(lake: Lake) -> None:
    noon = datetime(2026, 10, 10, 12, tzinfo=UTC)
    with lake.tables.writer(CONTRACT, "slow") as slow:
        slow.add(table([interaction(1)]), drop_known=True)
        lake.tables.append(CONTRACT, table([interaction(2)]), key="fast")
        assert slow.commit({}, watermark=("agents", noon)) is None
    assert lake.tables.watermark(CONTRACT, "agents") is None
    assert files(lake) == referenced(lake)


def test_a_table_that_does_not_exist_is_an_error_with_a_suggestion(lake: Lake, tmp_path: Path) -> None:
    lake.tables.append(CONTRACT, table([interaction(0)]), key="a")
    with pytest.raises(UnknownName, match=r"did you mean 'processed.agent_interactions'"):
        lake.tables.load("processed.agent_interaction")

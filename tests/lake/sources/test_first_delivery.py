"""A source that is set and has not delivered: green for a day, an error once, and green again."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from errors import NothingArrived, SourceError
from lake.lake import Lake, open_lake
from lake.quality.staleness import StalenessPolicy, check_sources, require_fresh
from lake.sources.ingestion import ingest_arrived
from lake.windows import Window
from settings import read_settings
from tests.lake.rows import interaction, lines

START, HOUR = datetime(2026, 11, 2, tzinfo=UTC), timedelta(hours=1)
AGENTS = ("agents", "processed.agent_interactions")


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    settings = read_settings(
        home=tmp_path / "home", lake="test", logs=str(tmp_path / "logs"), prometheus="forge=http://127.0.0.1:9"
    )
    return open_lake(settings)


def due(hours: float) -> Window:
    return Window(start=START + hours * HOUR - HOUR, end=START + hours * HOUR)


def test_missing_logs_are_no_fault_for_a_day_then_one_window_fails_also_when_it_is_retried(lake: Lake) -> None:
    assert [ingest_arrived(lake, *AGENTS, due(hours)) for hours in (0, 1, 23)] == [None] * 3
    for _ in range(2):
        with pytest.raises(NothingArrived, match=r"there is no folder .*logs/agents.*reported once"):
            ingest_arrived(lake, *AGENTS, due(24))
    assert [ingest_arrived(lake, *AGENTS, due(hours)) for hours in (25, 400)] == [None] * 2
    entries = lake.ledger.entries("sources/agents")
    assert [entry.kind for entry in entries] == ["awaited", "overdue"]


def test_logs_that_were_there_and_are_gone_fail_every_time(lake: Lake, tmp_path: Path) -> None:
    folder = tmp_path / "logs" / "agents"
    folder.mkdir(parents=True)
    (folder / "a.jsonl").write_bytes(lines([interaction(1)]))
    done = ingest_arrived(lake, *AGENTS, due(0))
    assert done is not None
    assert done.committed == 1
    (folder / "a.jsonl").unlink()
    for hours in (1, 2):
        with pytest.raises(NothingArrived, match="holds no logs"):
            ingest_arrived(lake, *AGENTS, due(hours))


def test_a_server_without_any_row_is_reported_once_after_a_day(lake: Lake) -> None:
    policy = StalenessPolicy(hours={"processed.metrics": 1.0})
    for hours in (0, 23, 24, 24, 25):
        checked = check_sources(lake, policy, START + hours * HOUR)
        assert [source.complaint for source in checked] == ["prometheus-forge has had no row of processed.metrics yet"]
        if hours == 24:
            with pytest.raises(SourceError, match=r"has had no row of processed\.metrics yet"):
                require_fresh(checked)
        else:
            require_fresh(checked)

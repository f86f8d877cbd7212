"""Rebuilding the curated tables, by schedule and by hand."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import tasks.runtime
from lake.contracts.agent_interactions import AGENT_INTERACTIONS
from lake.lake import Lake, open_lake
from settings import settings
from tests.features.conftest import FIRST_DAY, make_interactions
from workflows.curated import DAILY, HOURLY, curated_backfill, curation

NOW = FIRST_DAY + timedelta(days=4, hours=3)


@pytest.fixture
def clock() -> list[datetime]:
    """The current time of the lake's clock: a list of one item that a test may replace."""
    return [NOW]


@pytest.fixture(autouse=True)
def task_lake(tmp_path: Path, clock: list[datetime], monkeypatch: pytest.MonkeyPatch) -> Iterator[Lake]:
    """A lake with four days of interactions; tasks that run in this process open it, and each run has its own name."""
    monkeypatch.setenv("FUELLINE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FLYTE_LOCAL_CACHE_ENABLED", "false")
    settings.cache_clear()
    monkeypatch.setattr(tasks.runtime, "open_lake", lambda: open_lake(clock=lambda: clock[0]))
    names = iter(range(100))
    monkeypatch.setattr(tasks.runtime, "_local_run", lambda: f"run-{next(names)}")
    lake = open_lake()
    lake.tables.append(AGENT_INTERACTIONS, make_interactions(200), key="a")
    yield lake
    settings.cache_clear()


def test_the_first_late_fire_rebuilds_every_day_and_the_others_do_nothing(task_lake: Lake) -> None:
    kickoff = NOW.replace(hour=2, minute=40) - timedelta(days=2)
    builds = curation(kickoff=kickoff)
    assert [build.table for build in builds] == DAILY
    assert [len(build.rebuilt) for build in builds] == [4, 4, 0]
    assert curation(kickoff=kickoff + timedelta(days=1)) == []


def test_the_next_fire_rebuilds_the_days_of_late_rows(task_lake: Lake, clock: list[datetime]) -> None:
    plan = {"every_minutes": 60, "schedule": "curate_hourly", "tables": HOURLY}
    [first] = curation(kickoff=NOW.replace(hour=2, minute=35), **plan)
    assert len(first.rebuilt) == 4
    late = make_interactions(20, days=1, seed=5, first=FIRST_DAY + timedelta(days=1))
    task_lake.tables.append(AGENT_INTERACTIONS, late, key="late")
    clock[0] = NOW + timedelta(hours=1)
    [second] = curation(kickoff=NOW.replace(hour=3, minute=35), **plan)
    assert second.rebuilt == ["2026-03-03"]


def test_a_back_fill_rebuilds_its_range_and_shows_the_newest_day(task_lake: Lake) -> None:
    done = curated_backfill(
        table="curated.agent_performance_daily", first_day=FIRST_DAY, last_day=FIRST_DAY + timedelta(days=1)
    )
    assert done.rebuilt == ["2026-03-02", "2026-03-03"]
    deck = b"".join(task_lake.store.read(key) for key in task_lake.store.list("") if key.endswith(".html"))
    assert b"As of 2026-03-03" in deck
    assert b"bruno" in deck


def test_a_range_that_ends_before_it_starts_is_refused_with_both_days() -> None:
    at = datetime(2026, 3, 3, tzinfo=UTC)
    with pytest.raises(Exception, match=r"2026-03-03, is after the last, 2026-03-02"):
        curated_backfill(table="curated.cluster_health_hourly", first_day=at, last_day=at - timedelta(days=1))

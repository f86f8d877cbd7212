"""Pulling as the scheduler and a person start it: late, twice, with one server down, any range in parallel."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import tasks.runtime
from lake.contracts.telemetry import METRICS
from lake.lake import Lake, open_lake
from lake.sources.selection import Pulled, Selection
from launchplans.collection import EVENTS
from settings import settings
from tests.flyte.conftest import tasks_of
from tests.lake.sources.kubernetes import Server
from tests.lake.sources.peer import Peer, Reply, Request, plain, serving
from workflows.collection import backfill, collect

NOW = datetime(2026, 11, 2, 12, 3, tzinfo=UTC)
QUARTER, HOUR = timedelta(minutes=15), timedelta(hours=1)
UP = Selection(data_set="processed.metrics", queries={"up": "up"}, settle_s=0, first_hours=1)


def ramp(request: Request) -> Reply:
    start, end, step = (int(request.parameters[name]) for name in ("start", "end", "step"))
    values = [[at, str(at % 7)] for at in range(start, end + 1, step)]
    return plain({"status": "success", "data": {"result": [{"metric": {"__name__": "up"}, "values": values}]}})


@pytest.fixture
def peer() -> Iterator[Peer]:
    with serving() as server:
        server.answer = ramp
        yield server


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, peer: Peer) -> Iterator[Lake]:
    """A fresh lake that pulls from the peer; tasks that run in this process open it, and each run has its own name."""
    monkeypatch.setenv("FUELLINE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FUELLINE_PROMETHEUS", f"studio={peer.url}")
    monkeypatch.setenv("FUELLINE_KUBERNETES", f"studio={peer.url}")
    monkeypatch.setenv("FLYTE_LOCAL_CACHE_ENABLED", "false")
    settings.cache_clear()
    names = iter(range(10_000))
    monkeypatch.setattr(tasks.runtime, "_local_run", lambda: f"run-{next(names)}")
    monkeypatch.setattr(tasks.runtime, "open_lake", lambda: open_lake(clock=lambda: NOW))
    yield open_lake(clock=lambda: NOW)
    settings.cache_clear()


def fire(kickoff: datetime, selection: Selection = UP) -> list[Pulled]:
    done: list[Pulled] = collect(kickoff=kickoff, selection=selection, every_minutes=15, schedule="collect_metrics")
    return done


def rows(lake: Lake) -> int:
    version = lake.tables.current(METRICS)
    return version.rows if version else 0


def test_the_first_of_many_late_fires_pulls_for_all_and_the_others_send_no_request(lake: Lake, peer: Peer) -> None:
    noon = NOW.replace(minute=0)
    first = fire(noon - 2 * QUARTER)
    assert sum(pulled.committed for pulled in first) == rows(lake) == 60
    requests = len(peer.requests)
    assert [fire(noon - number * QUARTER) for number in (1, 0, 2)] == [[], [], []]
    assert len(peer.requests) == requests


def test_a_run_that_fails_for_one_server_leaves_its_window_to_the_next(
    lake: Lake, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer.script = [Reply(b"<html>")]
    with pytest.raises(Exception, match="not JSON"):
        fire(NOW.replace(minute=0))
    assert lake.ledger.entries("schedules/collect_metrics") == []
    assert sum(pulled.committed for pulled in fire(NOW.replace(minute=0))) == 60


def test_a_range_is_pulled_in_parallel_and_a_second_pull_of_it_does_nothing(lake: Lake, peer: Peer) -> None:
    start = NOW.replace(minute=0) - 9 * HOUR - timedelta(minutes=20)
    done = backfill(selection=UP, start=start, end=start + 8 * HOUR, chunk_hours=4)
    assert rows(lake) == sum(pulled.committed for pulled in done) == 480
    requests = len(peer.requests)
    again = backfill(selection=UP, start=start, end=start + 8 * HOUR, chunk_hours=2)
    assert not any(pulled.new for pulled in again)
    assert len(peer.requests) == requests
    wider = backfill(selection=UP, start=start - HOUR, end=start + 9 * HOUR, chunk_hours=4)
    assert rows(lake) == 600
    assert sum(pulled.committed for pulled in wider if pulled.new) == 120


@pytest.mark.parametrize(("hours", "length"), [(0, 4), (-3, 4), (3, 0)])
def test_an_empty_range_is_refused(lake: Lake, hours: int, length: int) -> None:
    with pytest.raises(Exception, match=r"must be before end=.*chunk_hours="):
        backfill(selection=UP, start=NOW, end=NOW + hours * HOUR, chunk_hours=length)


def test_the_deck_shows_rows_errors_and_watermark_of_each_source(lake: Lake, peer: Peer) -> None:
    peer.script = [Reply(status=429, headers={"Retry-After": "0"})]
    fire(NOW.replace(minute=0))
    [deck] = [lake.store.read(name).decode() for name in lake.store.list("") if name.endswith("collection.html")]
    for text in ("prometheus-studio", "2026-11-02T11:59:00+00:00", "429 x1", "Rows by source"):
        assert text in deck


def test_the_first_fire_lists_events_and_the_next_ones_watch(lake: Lake, peer: Peer) -> None:
    peer.answer = Server([{"metadata": {"uid": "a", "creationTimestamp": "2026-11-02T11:00:00Z"}}])
    [first] = fire(NOW.replace(minute=0) - 24 * HOUR - QUARTER, EVENTS)
    assert first.committed == 1
    entry = lake.ledger.entries("sources/kubernetes-studio", kind="pulled")[-1]
    assert entry.payload["cursor"] == {"everywhere": {"resource_version": "1000"}}


def test_tokens_of_servers_are_mounted_only_in_tasks_that_read_servers() -> None:
    from workflows.ingestion import ingestion

    def secrets(workflow: object) -> set[str]:
        templates = tasks_of(workflow).values()
        return {secret["key"] for task in templates for secret in task["securityContext"]["secrets"]}

    tokens = {"FUELLINE_LOKI_TOKEN", "FUELLINE_GITHUB_TOKEN", "FUELLINE_KUBERNETES_TOKEN"}
    assert tokens <= secrets(collect) & secrets(backfill)
    assert not tokens & secrets(ingestion)

"""The streaming consumer between a real RabbitMQ and a real Redis, and its snapshots in Feast."""

import os
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from cli.main import main
from features.definitions.views import VIEWS
from features.online.feast_repo import open_feature_store
from features.streaming.consumer import PUSHED_USERS, QUEUE, Snapshots, follow
from features.streaming.push_sources import AGENTS, FEATURES, USERS, push_snapshots, register_streaming
from features.streaming.windows import count, open_stream, read_streaming
from lake.lake import open_lake
from lake.sources.broker import DEAD_LETTERS, Batching, StopCondition
from settings import Settings, read_settings
from tests.conftest import variables
from tests.features.conftest import FIRST_DAY, make_interactions
from tests.features.streaming.test_windows import LANDED, messages
from tests.lake.events import connection, event, left, publish
from tests.lake.processes import PROCESSES
from tests.lake.rows import START

SMALL = Batching(messages=20, seconds=0.05)


@pytest.fixture
def settings(request: pytest.FixtureRequest, tmp_path: Path, redis_url: str, rabbitmq_url: str) -> Iterator[Settings]:
    """A lake of its own in the shared Redis, and a broker whose queues are deleted afterwards."""
    name = f"c{abs(hash(request.node.nodeid)) % 10**9}"
    chosen = read_settings(home=tmp_path, lake=name, online=redis_url, rabbitmq=rabbitmq_url)
    yield chosen
    with connection(chosen) as opened:
        for queue in (QUEUE, DEAD_LETTERS):
            opened.channel().queue_delete(queue)


def queries(settings: Settings) -> int:
    """The queries of all seven users on the first day of the events."""
    stream, at = open_stream(open_lake(settings)), START + timedelta(days=1)
    return sum(read_streaming(stream, f"user-{n}", "jamie", at).queries_last_24h for n in range(7))


def follow_and_die(settings: Settings, acknowledged: int) -> None:
    """In a child process: follow, and die by SIGKILL instead of sending the next acknowledgement."""
    from pika.adapters.blocking_connection import BlockingChannel

    acknowledge = BlockingChannel.basic_ack
    done: list[object] = []

    def instead(*arguments: Any, **named: Any) -> None:
        if len(done) == acknowledged:
            os.kill(os.getpid(), signal.SIGKILL)
        done.append(acknowledge(*arguments, **named))

    BlockingChannel.basic_ack = instead
    follow(settings, open_stream(open_lake(settings)), StopCondition(empty=True), SMALL)


@pytest.mark.parametrize("acknowledged", [0, 2])
def test_killed_between_count_and_acknowledgement_every_event_counts_once(
    settings: Settings, acknowledged: int
) -> None:
    publish(settings, [event(n % 90) for n in range(100)], QUEUE)
    child = PROCESSES.Process(target=follow_and_die, args=(settings, acknowledged))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    assert queries(settings) == 20 * (acknowledged + 1)
    assert (
        follow(settings, open_stream(open_lake(settings)), StopCondition(empty=True), SMALL) == 100 - 20 * acknowledged
    )
    assert queries(settings) == 90
    assert left(settings, QUEUE) == 0


def test_the_command_counts_the_queued_events_and_ends(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    publish(settings, [event(n) for n in range(30)] + [b"no event"], QUEUE)
    ended = CliRunner().invoke(main, ["consume", "features", "--until-empty"], env=variables(settings))
    assert ended.exit_code == 0, ended.output
    assert queries(settings) == 30
    assert left(settings, DEAD_LETTERS) == 0


def test_a_run_of_zero_minutes_registers_the_views_of_snapshots_without_a_broker(
    tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = read_settings(home=tmp_path, lake=f"r{abs(hash(str(tmp_path))) % 10**9}", online=redis_url)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    ended = CliRunner().invoke(main, ["consume", "features", "--push", "--minutes=0"], env=variables(chosen))
    assert ended.exit_code == 0, ended.output
    assert {view.name for view in open_feature_store(chosen).list_feature_views()} > {USERS, AGENTS}


def test_a_snapshot_in_feast_equals_a_read_at_the_same_time(tmp_path: Path, redis_url: str) -> None:
    name = f"p{abs(hash(str(tmp_path))) % 10**9}"
    lake = open_lake(read_settings(home=tmp_path, lake=name, online=redis_url))
    stream, store = open_stream(lake), open_feature_store(lake.settings)
    register_streaming(store)
    count(stream, messages(make_interactions(300, days=1)), LANDED)
    for hours in (12, 20):
        at = FIRST_DAY + timedelta(hours=hours)
        push_snapshots(store, stream, ["user-1"], ["jamie"], at)
        references = [f"{view}:{field}" for view in (USERS, AGENTS) for field in FEATURES[view][1]]
        answer = store.get_online_features(references, [{"user_id": "user-1", "agent_name": "jamie"}]).to_dict()
        value = read_streaming(stream, "user-1", "jamie", at)
        assert {field: answer[field][0] for view in (USERS, AGENTS) for field in FEATURES[view][1]} == {
            field: getattr(value, field) for view in (USERS, AGENTS) for field in FEATURES[view][1]
        }
        assert value.queries_last_24h > 0
    known = {view.name for view in open_feature_store(lake.settings).list_feature_views()}
    assert known == {USERS, AGENTS, *(view.name for view in VIEWS)}


def test_snapshots_include_every_active_user_and_agent() -> None:
    pushed: list[tuple[list[str], list[str]]] = []
    snapshots = Snapshots(push=lambda users, agents, _: pushed.append((list(users), list(agents))), every_s=0)
    rows = make_interactions(700, users=700)
    now = datetime.now(UTC)
    snapshots.note(rows, now)
    snapshots.note(rows.slice(0, 0), now)
    everybody = set(rows["user_id"].to_pylist())
    assert len(pushed[0][0]) == min(len(everybody), PUSHED_USERS)
    assert set(pushed[0][0]) | set(pushed[1][0]) == everybody
    assert set(pushed[0][1]) == set(rows["agent_name"].to_pylist())

"""Streaming features on a real Redis equal the batch transforms, in any order, with repeats and after crashes."""

import json
import os
import random
import signal
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from redis import Redis

from errors import PeerError, SettingsError
from features.batch.compute import view_rows
from features.definitions.views import AGENT_FEATURES, USER_FEATURES, View
from features.streaming.counters import Level, Series, SlidingWindow
from features.streaming.windows import StreamingFeatures, StreamingStore, count, forget, open_stream, read_streaming
from lake.lake import Lake, open_lake
from lake.sources.cloudevents import INTERACTION, Message
from settings import read_settings
from tests.features.conftest import AGENTS, FIRST_DAY, make_interactions
from tests.lake.processes import PROCESSES

LANDED = FIRST_DAY + timedelta(days=30)
USERS = [f"user-{n}" for n in range(6)]
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.fixture
def stream_lake(request: pytest.FixtureRequest, tmp_path: Path, redis_url: str) -> Lake:
    """A lake of the test's own in the run's Redis."""
    name = f"s{abs(hash(request.node.nodeid)) % 10**9}"
    return open_lake(read_settings(home=tmp_path, lake=name, online=redis_url))


@pytest.fixture
def stream(stream_lake: Lake) -> StreamingStore:
    return open_stream(stream_lake)


def messages(rows: pa.Table) -> list[Message]:
    """Each interaction as an event."""
    return [_message(row) for row in rows.to_pylist()]


def _message(row: dict[str, Any], **changes: Any) -> Message:
    at = row["timestamp"].isoformat()
    members = {"specversion": "1.0", "id": f"e-{row['interaction_id']}", "source": "/test", "type": INTERACTION}
    data = {**row, "timestamp": at, **changes}
    return Message(body=json.dumps({**members, "time": at, "data": data}).encode(), content_type="application/json")


def within(rows: pa.Table, end: datetime, length: timedelta) -> pa.Table:
    """The interactions of [end - length, end)."""
    kind = rows["timestamp"].type
    first, last = pa.scalar(end - length, kind), pa.scalar(end, kind)
    return rows.filter(pc.and_(pc.greater_equal(rows["timestamp"], first), pc.less(rows["timestamp"], last)))


def agent_batch(rows: pa.Table, agent: str, at: datetime) -> dict[str, Any]:
    """The batch features of these rows for the hour that ``at`` is in or ends; empty if the agent has none."""
    hour = (at - timedelta(microseconds=1)).replace(minute=0, second=0, microsecond=0) + HOUR
    return _batch(AGENT_FEATURES, rows, agent, hour)


def user_batch(rows: pa.Table, user: str, at: datetime) -> dict[str, Any]:
    """The batch features of these rows for the day that ``at`` is in or ends."""
    midnight = (at - timedelta(microseconds=1)).replace(hour=0, minute=0, second=0, microsecond=0) + DAY
    return _batch(USER_FEATURES, rows, user, midnight)


def _batch(view: View, rows: pa.Table, entity: str, end: datetime) -> dict[str, Any]:
    wanted = {view.entity: pa.array([entity]), "event_timestamp": pa.array([end], pa.timestamp("us", tz="UTC"))}
    found = view_rows(view, pa.table(wanted), rows).to_pylist()
    return found[0] if found else {}


def assert_equal_to_the_batch(stream: StreamingStore, rows: pa.Table, user: str, agent: str, at: datetime) -> int:
    """At the end of a bucket (a full minute) each value equals the batch; returns how many windows had rows."""
    value = read_streaming(stream, user, agent, at)
    five = agent_batch(within(rows, at, timedelta(minutes=5)), agent, at)
    minute = agent_batch(within(rows, at, timedelta(minutes=1)), agent, at)
    assert value.agent_error_rate_5m == five.get("error_rate")
    assert value.agent_requests_per_s == minute.get("requests_per_hour", 0) / 60
    assert value.agent_latency_p95_1m_ms == minute.get("latency_p95_ms")
    if at.minute:  # the batch has only hours that end on the full hour
        return bool(five) + bool(minute)
    hour = agent_batch(within(rows, at, HOUR), agent, at)
    user_hour = user_batch(within(rows, at, HOUR), user, at)
    assert value.agent_requests_last_1h == hour.get("requests_per_hour", 0)
    assert value.agent_error_rate_last_1h == hour.get("error_rate")
    assert value.agent_tokens_last_1h == hour.get("token_usage_rate", 0)
    assert value.queries_last_1h == user_hour.get("total_queries", 0)
    assert value.error_rate_last_1h == user_hour.get("error_rate")
    return sum(map(bool, (five, minute, hour, user_hour)))


def shuffled(events: Sequence[Message], seed: int = 0) -> list[Message]:
    mixed = list(events)
    random.Random(seed).shuffle(mixed)
    return mixed


def a_busy_day() -> pa.Table:
    """A day with traffic in every hour; one hour has several calls per minute."""
    sparse = make_interactions(3_000, days=1)
    dense = make_interactions(4_000, days=1, seed=1)
    squeezed = [FIRST_DAY + timedelta(hours=12) + (at - FIRST_DAY) / 24 for at in dense["timestamp"].to_pylist()]
    place = dense.schema.get_field_index("timestamp")
    dense = dense.set_column(place, dense.schema.field(place), pa.array(squeezed, dense.schema.field(place).type))
    both = pa.concat_tables([sparse, dense])
    _, kept = zip(*{(r["timestamp"], r["agent_name"]): n for n, r in enumerate(both.to_pylist())}.items(), strict=True)
    return both.take(sorted(kept))


def test_after_a_day_of_repeated_and_shuffled_events_the_values_equal_the_batch(stream: StreamingStore) -> None:
    rows = a_busy_day()
    events = messages(rows)
    sent = shuffled(events + events[:2_000])
    for first in range(0, len(sent), 500):
        count(stream, sent[first : first + 500], LANDED)
    draw, compared = random.Random(1), 0
    ends = [FIRST_DAY + HOUR * n for n in (1, 7, 13, 24)]
    ends += [FIRST_DAY + timedelta(hours=12, minutes=draw.randrange(5, 60)) for _ in range(4)]
    for at in ends:
        for user, agent in zip(USERS, [*AGENTS, *AGENTS[:2]], strict=True):
            compared += assert_equal_to_the_batch(stream, rows, user, agent, at)
    assert compared > 100
    midnight = FIRST_DAY + DAY
    for user in USERS:
        batch = user_batch(rows, user, midnight)
        assert read_streaming(stream, user, "jamie", midnight).queries_last_24h == batch["queries_last_24h"] > 0


def test_a_value_falls_again_without_any_event(stream: StreamingStore) -> None:
    rows = make_interactions(400, days=1, users=1)
    count(stream, messages(rows), LANDED)
    newest = pc.max(rows["timestamp"]).as_py()
    now = newest + timedelta(microseconds=1)
    queries = [read_streaming(stream, "user-0", "jamie", now + HOUR * n).queries_last_24h for n in range(0, 27, 3)]
    assert queries[0] > 300
    assert queries == sorted(queries, reverse=True)
    assert queries[-1] == 0
    old = read_streaming(stream, "user-0", "jamie", now + DAY + HOUR)
    assert old.age_s == pytest.approx(DAY.total_seconds() + 3600, abs=1)
    assert (old.agent_requests_per_s, old.agent_latency_p95_1m_ms, old.agent_error_rate_5m) == (0.0, None, None)


def test_an_event_is_in_the_value_at_once_and_never_before_its_time(stream: StreamingStore) -> None:
    row = make_interactions(1).to_pylist()[0]
    at = row["timestamp"].replace(second=30, microsecond=500_000)
    count(stream, [_message({**row, "timestamp": at})], LANDED)

    def queries(seconds: float) -> int:
        return read_streaming(
            stream, row["user_id"], row["agent_name"], at + timedelta(seconds=seconds)
        ).queries_last_1h

    assert queries(0.001) == 1
    assert queries(-3600) == queries(-60) == 0
    assert queries(3500) == 1  # a window is up to one bucket shorter than its name within a bucket


def test_an_event_counts_once_in_whatever_batches_it_comes(stream: StreamingStore) -> None:
    rows = make_interactions(60, days=1, users=1)
    events = messages(rows)
    for size in (1, 7, 60):
        for first in range(0, 60, size):
            count(stream, events[first : first + size], LANDED)
    at = FIRST_DAY + DAY
    assert read_streaming(stream, "user-0", "jamie", at).queries_last_24h == rows.num_rows


def test_events_that_the_lake_would_not_commit_are_not_counted(stream: StreamingStore) -> None:
    row = make_interactions(1).to_pylist()[0] | {"latency_ms": 500, "error": False}
    invalid: list[dict[str, Any]] = [
        {"latency_ms": 31_000},
        {"tokens_used": -1},
        {"agent_name": "nobody"},
        {"user_id": None},
        {"timestamp": (LANDED + HOUR).isoformat()},
    ]
    bad = [_message(row, interaction_id=f"bad-{n}", **change) for n, change in enumerate(invalid)]
    conflict = _message(row, interaction_id="other", user_query="another at the same moment")
    other = Message(body=b'{"specversion": "1.0", "type": "io.homelab.alert", "data": 1}')
    deep = Message(body=b'{"data": ' + b"[" * 100_000 + b"]" * 100_000 + b"}")
    good = count(stream, [*bad, other, Message(body=b"no event"), deep, _message(row), conflict], LANDED)
    assert good.num_rows == 2
    at = row["timestamp"] + timedelta(seconds=1)
    assert read_streaming(stream, row["user_id"], row["agent_name"], at).queries_last_24h == 1


def count_and_die(lake_name: str, home: Path, url: str, events: list[Message], after: int) -> None:
    """In a child: count one by one and die by SIGKILL in the middle."""
    stream = open_stream(open_lake(read_settings(home=home, lake=lake_name, online=url)))
    for number, event in enumerate(events):
        if number == after:
            os.kill(os.getpid(), signal.SIGKILL)
        count(stream, [event], LANDED)


def test_after_a_kill_and_redelivery_of_all_events_the_count_is_right(
    stream_lake: Lake, redis_url: str, tmp_path: Path
) -> None:
    rows = make_interactions(80, days=1, users=1)
    events = messages(rows)
    child = PROCESSES.Process(target=count_and_die, args=(stream_lake.settings.lake, tmp_path, redis_url, events, 37))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    stream, at = open_stream(stream_lake), FIRST_DAY + DAY
    assert read_streaming(stream, "user-0", "jamie", at).queries_last_24h == 37
    count(stream, events, LANDED)
    assert read_streaming(stream, "user-0", "jamie", at).queries_last_24h == rows.num_rows


def test_redis_holds_no_user_id_and_every_key_expires(
    stream: StreamingStore, stream_lake: Lake, redis_url: str
) -> None:
    count(stream, messages(make_interactions(200, days=1)), LANDED)
    with Redis.from_url(redis_url) as client:
        keys = list(client.scan_iter(f"*fuelline:{stream_lake.settings.lake}*", count=10_000))
        assert len(keys) > 50
        assert not any(b"user-" in key for key in keys)
        assert all(0 < client.ttl(key) <= 26 * 3600 for key in keys)
        ids = max(client.ttl(key) for key in keys if b":seen:" in key)
        assert ids >= max(client.ttl(key) for key in keys if b":seen:" not in key)  # nothing counted outlives its id


def test_only_the_erased_user_is_forgotten(stream: StreamingStore) -> None:
    count(stream, messages(make_interactions(300, days=1)), LANDED)
    at = FIRST_DAY + DAY
    before = [read_streaming(stream, user, "jamie", at) for user in USERS]
    assert forget(stream, "user-2") > 0
    after = [read_streaming(stream, user, "jamie", at) for user in USERS]
    assert after[2].queries_last_24h == 0
    assert after[:2] + after[3:] == before[:2] + before[3:]
    assert forget(stream, "user-2") == 0
    assert forget(stream, "*") == 0


def test_without_events_counts_are_zero(stream: StreamingStore) -> None:
    value = read_streaming(stream, "nobody", "jamie", FIRST_DAY)
    assert value == StreamingFeatures(
        as_of=FIRST_DAY,
        age_s=None,
        queries_last_1h=0,
        queries_last_24h=0,
        error_rate_last_1h=None,
        agent_requests_per_s=0.0,
        agent_latency_p95_1m_ms=None,
        agent_error_rate_5m=None,
        agent_requests_last_1h=0,
        agent_error_rate_last_1h=None,
        agent_tokens_last_1h=0,
    )


def test_without_redis_the_setting_is_named(lake: Lake) -> None:
    with pytest.raises(SettingsError, match="FUELLINE_ONLINE is not set"):
        open_stream(lake)


def test_the_error_of_an_unreachable_redis_does_not_show_its_password(tmp_path: Path) -> None:
    away = open_stream(open_lake(read_settings(home=tmp_path, lake="test", online="redis://:hunter2@127.0.0.1:1")))
    with pytest.raises(PeerError, match="FUELLINE_ONLINE") as error:
        read_streaming(away, "user-0", "jamie", FIRST_DAY)
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize(("offset_s", "first", "last"), [(0.0, -60, -1), (0.001, -59, 0), (0.999, -59, 0)])
def test_a_window_has_as_many_buckets_as_its_length(offset_s: float, first: int, last: int) -> None:
    level = Level(name="s", bucket_s=1, chunk_s=60, longest_s=60)
    buckets = SlidingWindow(series=Series(name="x", level=level), seconds=60).buckets(
        FIRST_DAY + timedelta(seconds=offset_s)
    )
    start = int(FIRST_DAY.timestamp())
    assert (buckets[0] - start, buckets[-1] - start) == (first, last)

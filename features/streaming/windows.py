"""Streaming features: what a user and an agent did in the last minute, minutes and hours, a moment after they did it.

``features.streaming.consumer`` counts the broker's interaction events into Redis (``features.streaming.counters``);
``read_streaming`` sums the windows when it is asked. Definitions are those of ``features.definitions.transforms``, and
a row that the lake would not commit is not counted, so at the end of a bucket the values equal what the transforms make
of the same window. Event time decides, never the time of arrival: order and delay change nothing.

No user's name stands in Redis here, only a hash under a key of the lake's own: whoever reads Redis alone cannot tell
who it is, nor try names until one fits.
"""

import contextlib
import hashlib
import logging
import secrets
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from errors import ObjectExists
from features.streaming.counters import Buckets, Event, Level, Series, Window, open_buckets
from lake.contracts.agent_interactions import AGENT_INTERACTIONS
from lake.ingest.blocks import Block
from lake.ingest.bounds import out_of_bounds
from lake.ingest.parse import parse
from lake.lake import Lake
from lake.sources.cloudevents import Message, read_event
from lake.store.objects import ObjectStore

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger("fuelline.features")

MINUTE, FIVE_MINUTES, HOUR, DAY = 60, 300, 3_600, 86_400
USER = Level(name="m", bucket_s=MINUTE, chunk_s=HOUR, longest_s=DAY)
AGENT_HOUR = Level(name="m", bucket_s=MINUTE, chunk_s=HOUR, longest_s=HOUR)
AGENT_NOW = Level(name="s", bucket_s=1, chunk_s=MINUTE, longest_s=FIVE_MINUTES)
AGENT_LATENCIES = Level(name="l", bucket_s=1, chunk_s=MINUTE, longest_s=MINUTE)
"""One measure a latency in ms, so that a percentile is exact. Apart, because the other values need not read them."""
REQUESTS, ERRORS, TOKENS = "n", "e", "t"
KEY_OBJECT = "keys/streaming"
SKEW = timedelta(minutes=1)
"""How far an event's clock may be ahead of ours."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StreamingFeatures:
    """What a user and an agent did before ``as_of``. Without events counts are zero, and shares and latencies None."""

    as_of: datetime
    age_s: float | None
    """Since the newest event of anybody that was counted happened; None where there is none, or it is forgotten."""
    queries_last_1h: int
    queries_last_24h: int
    error_rate_last_1h: float | None
    """Of the user's queries."""
    agent_requests_per_s: float
    """Over the last minute."""
    agent_latency_p95_1m_ms: float | None
    """By nearest rank, of the calls that succeeded."""
    agent_error_rate_5m: float | None
    agent_requests_last_1h: int
    agent_error_rate_last_1h: float | None
    agent_tokens_last_1h: int


@dataclass(frozen=True, kw_only=True)
class Stream:
    """The streaming features of one lake. Open once and keep."""

    buckets: Buckets
    key: bytes
    """Under which users are hashed."""

    def user(self, user_id: str) -> str:
        """The user's series."""
        return f"user:{self.digest(user_id).hex()}"

    def digest(self, text: str) -> bytes:
        """A keyed hash: equal for equal texts, and nothing else can be told from it without the key."""
        return hashlib.blake2b(text.encode(), key=self.key, digest_size=16).digest()


def open_stream(lake: Lake) -> Stream:
    """The lake's streaming features; its key is made at first use and kept in the object store.

    Raises:
        SettingsError: ``FUELLINE_ONLINE`` names no Redis.
    """
    return Stream(buckets=open_buckets(lake.settings), key=_key(lake.store))


def read_streaming(stream: Stream, user_id: str, agent_name: str, as_of: datetime) -> StreamingFeatures:
    """Every streaming feature for one request at ``as_of`` (UTC), in one round trip.

    Raises:
        PeerError: Redis does not answer.
    """
    windows = (*_user_windows(stream, user_id), *_agent_windows(agent_name))
    (user_hour, user_day, now, latencies, five, hour), newest = stream.buckets.sums(windows, as_of)
    return StreamingFeatures(
        as_of=as_of,
        age_s=max(0.0, (as_of - newest).total_seconds()) if newest else None,
        queries_last_1h=user_hour[REQUESTS],
        queries_last_24h=user_day[REQUESTS],
        error_rate_last_1h=_share(user_hour),
        agent_requests_per_s=now[REQUESTS] / MINUTE,
        agent_latency_p95_1m_ms=_nearest_rank(latencies, 95),
        agent_error_rate_5m=_share(five),
        agent_requests_last_1h=hour[REQUESTS],
        agent_error_rate_last_1h=_share(hour),
        agent_tokens_last_1h=hour[TOKENS],
    )


def count(stream: Stream, messages: Sequence[Message], landed_at: datetime) -> "pa.Table":
    """Count the interactions among the messages, each once; returns those that the lake would commit as well.

    Raises:
        PeerError: Redis does not answer; giving the messages again is harmless.
    """
    rows = _interactions(messages, landed_at)
    new = stream.buckets.count([_event(stream, row) for row in rows.to_pylist()])
    if refused := len(messages) - rows.num_rows:
        log.info("%d of %d messages hold no interaction that the lake would take", refused, len(messages))
    log.debug("%d of %d interactions were new", new, rows.num_rows)
    return rows


def forget(stream: Stream, user_id: str) -> int:
    """Erase what is counted of a user; returns how many chunks there were.

    What the user does after that is counted again. Of single events, a hash of the id stays until it expires (26 hours
    after it came): by it a redelivery is known, and nobody.
    """
    return stream.buckets.forget(stream.user(user_id))


def _user_windows(stream: Stream, user_id: str) -> tuple[Window, ...]:
    user = Series(name=stream.user(user_id), level=USER)
    return Window(series=user, seconds=HOUR), Window(series=user, seconds=DAY)


def _agent_windows(agent_name: str) -> tuple[Window, ...]:
    now, latencies, hour = (
        Series(name=f"agent:{agent_name}", level=level) for level in (AGENT_NOW, AGENT_LATENCIES, AGENT_HOUR)
    )
    return (
        Window(series=now, seconds=MINUTE),
        Window(series=latencies, seconds=MINUTE),
        Window(series=now, seconds=FIVE_MINUTES),
        Window(series=hour, seconds=HOUR),
    )


def _interactions(messages: Sequence[Message], landed_at: datetime) -> "pa.Table":
    """The rows that keep the contract, by the code that decides it for the lake."""
    import pyarrow.compute as pc

    lines = b"".join(_lines(messages))
    if not lines:
        return AGENT_INTERACTIONS.arrow_schema.empty_table()
    rows = parse(AGENT_INTERACTIONS, Block(first=1, data=lines)).rows
    return rows.filter(pc.is_null(out_of_bounds(AGENT_INTERACTIONS, rows, landed_at + SKEW)["reason"]))


def _lines(messages: Sequence[Message]) -> Iterator[bytes]:
    for event in map(read_event, messages):
        if event.data_set == AGENT_INTERACTIONS.name:
            yield event.row + b"\n"


def _event(stream: Stream, row: Mapping[str, object]) -> Event:
    """An interaction's counts. Its ids are the two on which the lake knows a row again: its own, and agent and time."""
    agent, at, failed = str(row["agent_name"]), row["timestamp"], int(bool(row["error"]))
    assert isinstance(at, datetime)
    tokens = row["tokens_used"]
    assert isinstance(tokens, int)
    called = {REQUESTS: 1, **({ERRORS: 1} if failed else {})}
    name = f"agent:{agent}"
    counts: dict[Series, Mapping[str, int]] = {
        Series(name=stream.user(str(row["user_id"])), level=USER): called,
        Series(name=name, level=AGENT_NOW): called,
        Series(name=name, level=AGENT_HOUR): {**called, TOKENS: tokens},
    }
    if not failed:
        counts[Series(name=name, level=AGENT_LATENCIES)] = {str(row["latency_ms"]): 1}
    ids = (stream.digest(f"id {row['interaction_id']}"), stream.digest(f"at {at.isoformat()} {agent}"))
    return Event(ids=ids, at=at, counts=counts)


def _share(counts: Counter[str]) -> float | None:
    return counts[ERRORS] / counts[REQUESTS] if counts[REQUESTS] else None


def _nearest_rank(latencies: Counter[str], percent: int) -> float | None:
    """The smallest latency that so many percent of the calls did not exceed; as ``transforms`` ranks them."""
    calls, place = latencies.total(), 0
    for latency in sorted(latencies, key=int):
        place += latencies[latency]
        if 100 * place >= percent * calls:
            return float(latency)
    return None


def _key(store: ObjectStore) -> bytes:
    """The lake's key for hashing users: the first process makes it, all others read it."""
    if not store.exists(KEY_OBJECT):
        with contextlib.suppress(ObjectExists):  # another was first, or our own put was sent twice
            store.create(KEY_OBJECT, secrets.token_bytes(32))
    return store.read(KEY_OBJECT)

"""Streaming features: the activity of a user and an agent in the last minutes and hours, available within a second.

``features.streaming.consumer`` counts the broker's interaction events into Redis (``features.streaming.counters``);
``read_streaming`` sums the windows. Definitions are those of ``features.definitions.transforms``, and a row that the
lake would not commit is not counted: so at the end of a bucket the values equal those of the transforms over the same
window. Windows use event time, so the order and delay of events do not matter.

Redis holds no user ids, only hashes with a key of the lake: from Redis alone nobody can find or guess a user.
"""

import contextlib
import hashlib
import logging
import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from errors import ObjectExists, SettingsError
from features.streaming.counters import CountedEvent, Counters, Level, Series, SlidingWindow
from lake.contracts.agent_interactions import AGENT_INTERACTIONS
from lake.ingest.blocks import Block
from lake.ingest.bounds import out_of_bounds
from lake.ingest.parse import parse
from lake.lake import Lake
from lake.sources.cloudevents import Message, read_event
from lake.store.objects import ObjectStore
from settings import example

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger("fuelline.features")

MINUTE, FIVE_MINUTES, HOUR, DAY = 60, 300, 3_600, 86_400
USER = Level(name="m", bucket_s=MINUTE, chunk_s=HOUR, longest_s=DAY)
AGENT_HOUR = Level(name="m", bucket_s=MINUTE, chunk_s=HOUR, longest_s=HOUR)
AGENT_NOW = Level(name="s", bucket_s=1, chunk_s=MINUTE, longest_s=FIVE_MINUTES)
AGENT_LATENCIES = Level(name="l", bucket_s=1, chunk_s=MINUTE, longest_s=MINUTE)
"""One measure per latency in ms, so that percentiles are exact. A separate level: other values do not read it."""
REQUESTS, ERRORS, TOKENS = "n", "e", "t"
KEY_OBJECT = "keys/streaming"
SKEW = timedelta(minutes=1)
"""Largest lead of an event's clock over ours."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StreamingFeatures:
    """The activity of a user and an agent before ``as_of``. Without events counts are 0, shares and latencies None."""

    as_of: datetime
    age_s: float | None
    """Age of the newest counted event of any user (seconds); None if there is none."""
    queries_last_1h: int
    queries_last_24h: int
    error_rate_last_1h: float | None
    """Share of the user's queries."""
    agent_requests_per_s: float
    """Over the last minute."""
    agent_latency_p95_1m_ms: float | None
    """By nearest rank, of successful calls."""
    agent_error_rate_5m: float | None
    agent_requests_last_1h: int
    agent_error_rate_last_1h: float | None
    agent_tokens_last_1h: int


@dataclass(frozen=True, kw_only=True)
class StreamingStore:
    """The streaming features of one lake. Open it once."""

    counters: Counters
    key: bytes
    """Key of the hashes of user ids."""

    def user(self, user_id: str) -> str:
        """The name of the user's series."""
        return f"user:{self.digest(user_id).hex()}"

    def digest(self, text: str) -> bytes:
        """A keyed hash: equal for equal texts, and not invertible without the key."""
        return hashlib.blake2b(text.encode(), key=self.key, digest_size=16).digest()


def open_stream(lake: Lake) -> StreamingStore:
    """The lake's streaming features; the key is created at first use and kept in the object store."""
    from redis import Redis

    settings = lake.settings
    if not settings.online:
        raise SettingsError(
            "FUELLINE_ONLINE is not set. Streaming features need Redis; SQLite cannot replace it. "
            f"Example: {example('online')}"
        )
    # The braces keep all keys of a lake in one slot of a Redis cluster, as scripts require.
    counters = Counters(Redis.from_url(settings.online), f"{{fuelline:{settings.lake}}}")
    return StreamingStore(counters=counters, key=_key(lake.store))


def read_streaming(stream: StreamingStore, user_id: str, agent_name: str, as_of: datetime) -> StreamingFeatures:
    """Every streaming feature for one request at ``as_of`` (UTC), in one round trip. Raises ``PeerError``."""
    user, agent = stream.user(user_id), f"agent:{agent_name}"
    windows = [
        SlidingWindow(series=Series(name=name, level=level), seconds=seconds)
        for name, level, seconds in (
            (user, USER, HOUR),
            (user, USER, DAY),
            (agent, AGENT_NOW, MINUTE),
            (agent, AGENT_LATENCIES, MINUTE),
            (agent, AGENT_NOW, FIVE_MINUTES),
            (agent, AGENT_HOUR, HOUR),
        )
    ]
    (user_hour, user_day, now, latencies, five, hour), newest = stream.counters.sums(windows, as_of)
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


def count(stream: StreamingStore, messages: Sequence[Message], landed_at: datetime) -> "pa.Table":
    """Count the interactions in the messages, each once; returns the rows that the lake would commit too. After a
    ``PeerError``, passing the messages again is harmless.
    """
    rows = _interactions(messages, landed_at)
    new = stream.counters.count([_event(stream, row) for row in rows.to_pylist()])
    if rejected := len(messages) - rows.num_rows:
        log.info("%d of %d messages have no interaction that the lake would commit", rejected, len(messages))
    log.debug("%d of %d interactions were new", new, rows.num_rows)
    return rows


def forget(stream: StreamingStore, user_id: str) -> int:
    """Erase the counts of a user; returns the number of deleted chunks.

    Later events of the user are counted again. A hash of each event's id stays until it expires (26 hours after it
    arrived): it identifies a redelivery, not a person.
    """
    return stream.counters.forget(stream.user(user_id))


def _interactions(messages: Sequence[Message], landed_at: datetime) -> "pa.Table":
    """The rows that satisfy the contract, by the same code as in ingestion."""
    import pyarrow.compute as pc

    events = map(read_event, messages)
    lines = b"".join(event.row + b"\n" for event in events if event.data_set == AGENT_INTERACTIONS.name)
    if not lines:
        return AGENT_INTERACTIONS.arrow_schema.empty_table()
    rows = parse(AGENT_INTERACTIONS, Block(first=1, data=lines)).rows
    return rows.filter(pc.is_null(out_of_bounds(AGENT_INTERACTIONS, rows, landed_at + SKEW)["reason"]))


def _event(stream: StreamingStore, row: Mapping[str, object]) -> CountedEvent:
    """The counts of an interaction. Its ids are the two unique keys of a row: its id, and its agent and time."""
    agent, at, tokens = row["agent_name"], row["timestamp"], row["tokens_used"]
    assert isinstance(at, datetime)
    assert isinstance(tokens, int)
    counted = {REQUESTS: 1, **({ERRORS: 1} if row["error"] else {})}
    name = f"agent:{agent}"
    counts: dict[Series, Mapping[str, int]] = {
        Series(name=stream.user(str(row["user_id"])), level=USER): counted,
        Series(name=name, level=AGENT_NOW): counted,
        Series(name=name, level=AGENT_HOUR): {**counted, TOKENS: tokens},
    }
    if not row["error"]:
        counts[Series(name=name, level=AGENT_LATENCIES)] = {str(row["latency_ms"]): 1}
    ids = (stream.digest(f"id {row['interaction_id']}"), stream.digest(f"at {at.isoformat()} {agent}"))
    return CountedEvent(ids=ids, at=at, counts=counts)


def _share(counts: Counter[str]) -> float | None:
    return counts[ERRORS] / counts[REQUESTS] if counts[REQUESTS] else None


def _nearest_rank(latencies: Counter[str], percent: int) -> float | None:
    """The smallest latency that ``percent`` of the calls did not exceed; ranked as in ``transforms``."""
    calls, rank = latencies.total(), 0
    for latency in sorted(latencies, key=int):
        rank += latencies[latency]
        if 100 * rank >= percent * calls:
            return float(latency)
    return None


def _key(store: ObjectStore) -> bytes:
    """The lake's key for hashing user ids: the first process creates it, all others read it."""
    if not store.exists(KEY_OBJECT):
        with contextlib.suppress(ObjectExists):  # another process was first, or our own request was sent twice
            store.create(KEY_OBJECT, secrets.token_bytes(32))
    return store.read(KEY_OBJECT)

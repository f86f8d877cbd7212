"""Counts by time in Redis; a window is summed when it is read, so its value falls without new events.

A series (of one agent or user) is divided into buckets of event time, and buckets are grouped in chunks: a chunk is a
Redis hash with one field per bucket and measure. Reading a window takes one round trip for its chunks. Chunks expire
when no window can reach them.

One Lua script counts an event: checking its id and adding the counts are one atomic step, whatever is killed, running
in parallel or redelivered. Ids are kept by the hour of the event, as long as that hour can be in a window; an event
that is redelivered later changes buckets that are no longer read. Ids and counts are in the same Redis, so a store that
lost its data starts from zero, not from wrong counts.
"""

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from errors import PeerError

if TYPE_CHECKING:
    from redis import Redis

MARGIN_S = 3_600
"""Extra time to live (seconds), for clock differences and reads of a moment ago."""
HOUR_S = 3_600
KEEP_S = 24 * HOUR_S
"""Longest window, and so how long an id is kept (seconds)."""

_COUNT = """
local known = KEYS[1]
if redis.call('SISMEMBER', known, ARGV[1]) == 1 or redis.call('SISMEMBER', known, ARGV[2]) == 1 then return 0 end
redis.call('SADD', known, ARGV[1], ARGV[2])
redis.call('EXPIRE', known, ARGV[3])
if tonumber(ARGV[4]) > tonumber(redis.call('GET', KEYS[2]) or '0') then
  redis.call('SET', KEYS[2], ARGV[4], 'EX', ARGV[3])
end
local at = 5
for k = 3, #KEYS do
  local fields = tonumber(ARGV[at + 1])
  for f = at + 2, at + 2 * fields, 2 do redis.call('HINCRBY', KEYS[k], ARGV[f], ARGV[f + 1]) end
  redis.call('EXPIRE', KEYS[k], ARGV[at])
  at = at + 2 + 2 * fields
end
return 1
"""
"""KEYS: the hour's ids, the newest event's time, then chunks. ARGV: two ids, their time to live, the event's time, and
for each chunk its time to live, the number of fields, and each field with its increment.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Level:
    """The resolution of a series, and how far back it is read."""

    name: str
    bucket_s: int
    chunk_s: int
    longest_s: int
    """The longest window read from it."""

    def __post_init__(self) -> None:
        if self.chunk_s % self.bucket_s or not 0 < self.longest_s <= KEEP_S:
            raise ValueError(f"buckets must divide chunks, and windows be at most {KEEP_S} s long, unlike {self}")

    @property
    def per_chunk(self) -> int:
        """Buckets in a chunk."""
        return self.chunk_s // self.bucket_s

    @property
    def keep_s(self) -> int:
        """A chunk's time to live after its last count."""
        return self.longest_s + self.chunk_s + MARGIN_S


@dataclass(frozen=True, kw_only=True, slots=True)
class Series:
    """The counts of one agent or user at one resolution."""

    name: str
    """For example ``agent:bruno``; a user is named by a keyed hash only."""
    level: Level


@dataclass(frozen=True, kw_only=True, slots=True)
class CountedEvent:
    """The counts of one event."""

    ids: tuple[bytes, bytes]
    """Digests of two unique properties: it is counted if neither was seen."""
    at: datetime
    counts: Mapping[Series, Mapping[str, int]]
    """By series and measure."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SlidingWindow:
    """The last seconds of a series."""

    series: Series
    seconds: int

    def buckets(self, as_of: datetime) -> range:
        """The numbers of its buckets; the last one contains ``as_of`` or ends there.

        At the end of a bucket they cover exactly [as_of - seconds, as_of); within one, up to a bucket less.
        """
        size = self.series.level.bucket_s
        end = -int(-as_of.timestamp() // size)
        return range(end - self.seconds // size, end)

    def chunks(self, as_of: datetime) -> range:
        """The numbers of the chunks that hold its buckets."""
        buckets, per_chunk = self.buckets(as_of), self.series.level.per_chunk
        return range(buckets.start // per_chunk, (buckets.stop - 1) // per_chunk + 1)


class Counters:
    """The counters of one lake."""

    def __init__(self, client: "Redis", prefix: str) -> None:
        self._client, self._prefix = client, prefix
        self._script = client.register_script(_COUNT)

    def count(self, events: Sequence[CountedEvent]) -> int:
        """Count each event once, however often it is passed; returns how many were new. After a ``PeerError`` some may
        have been counted; passing them again is harmless.
        """
        with _redis_errors(), self._client.pipeline(transaction=False) as pipeline:
            for event in events:
                keys, arguments = self._call(event)
                self._script(keys=keys, args=arguments, client=pipeline)
            return sum(pipeline.execute())

    def sums(self, windows: Sequence[SlidingWindow], as_of: datetime) -> tuple[list[Counter[str]], datetime | None]:
        """For each window the sum of each measure, and the time of the newest event; one round trip. Raises
        ``PeerError``.
        """
        chunks = {self._key(window.series, n): None for window in windows for n in window.chunks(as_of)}
        with _redis_errors(), self._client.pipeline(transaction=False) as pipeline:
            for key in chunks:
                pipeline.hgetall(key)
            pipeline.get(self._newest)
            *hashes, newest = pipeline.execute()
        read = dict(zip(chunks, hashes, strict=True))
        summed = [self._sum(window, as_of, read) for window in windows]
        return summed, datetime.fromtimestamp(int(newest) / 1e6, as_of.tzinfo) if newest else None

    def forget(self, name: str) -> int:
        """Delete every chunk of the series of this name, which holds no wildcard of Redis; returns their number."""
        with _redis_errors():
            keys = list(self._client.scan_iter(f"{self._prefix}:{name}:*", count=10_000))
            return sum(bool(self._client.delete(key)) for key in keys)

    @property
    def _newest(self) -> str:
        return f"{self._prefix}:newest"

    def _call(self, event: CountedEvent) -> tuple[list[str], list[bytes | str | int]]:
        seconds = int(event.at.timestamp())
        keys = [f"{self._prefix}:seen:{seconds // HOUR_S}", self._newest]
        micros = seconds * 1_000_000 + event.at.microsecond
        arguments: list[bytes | str | int] = [*event.ids, KEEP_S + HOUR_S + MARGIN_S, micros]
        for series, counts in event.counts.items():
            level = series.level
            keys.append(self._key(series, seconds // level.chunk_s))
            bucket = seconds % level.chunk_s // level.bucket_s
            arguments += [level.keep_s, len(counts)]
            for measure, number in counts.items():
                arguments += [f"{bucket}:{measure}", number]
        return keys, arguments

    def _key(self, series: Series, chunk: int) -> str:
        return f"{self._prefix}:{series.name}:{series.level.name}:{chunk}"

    def _sum(self, window: SlidingWindow, as_of: datetime, read: Mapping[str, Mapping[bytes, bytes]]) -> Counter[str]:
        buckets, total = window.buckets(as_of), Counter[str]()
        for chunk in window.chunks(as_of):
            for name, number in read[self._key(window.series, chunk)].items():
                bucket, _, measure = name.decode().partition(":")
                if chunk * window.series.level.per_chunk + int(bucket) in buckets:
                    total[measure] += int(number)
        return total


@contextlib.contextmanager
def _redis_errors() -> Iterator[None]:
    """Turn errors of Redis into errors without keys and values."""
    from redis.exceptions import RedisError

    try:
        yield
    except RedisError as error:
        raise PeerError(f"FUELLINE_ONLINE: Redis failed ({type(error).__name__})") from error

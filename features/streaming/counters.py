"""Counts by time in Redis, from which any window is summed when it is read: so a value falls again without an event.

A series (what one agent, or one user, did) is cut into buckets of event time, and buckets are kept together in chunks:
a chunk is a Redis hash with one field a bucket and measure. Reading a window is one round trip for its chunks. Chunks
expire by themselves once no window can reach them.

An event is counted by one Lua script: whether its id was counted before and the counts themselves are one step, which
a kill, a second consumer or a redelivery cannot part. Ids are kept by the hour in which the event happened, as long as
that hour can be in a window; an event that comes again after that changes buckets that nobody reads any more. Ids and
counts live and die in the same Redis, so a store that lost its data counts from nothing, not wrongly.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from errors import PeerError, SettingsError
from settings import Settings, example

if TYPE_CHECKING:
    from redis import Redis

MARGIN_S = 3_600
"""Kept longer than any window reaches: for clocks that differ, and readers that ask for a moment ago."""
HOUR_S = 3_600
KEEP_S = 24 * HOUR_S
"""The longest window there may be: how long an id has to be remembered."""

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
"""KEYS: the hour's ids, the newest event's time, a chunk each. ARGV: two ids, their time to live, the event's time, and
for each chunk its time to live, how many fields, and each field with its increment.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Level:
    """How finely time is cut, and how far back it is read."""

    name: str
    bucket_s: int
    chunk_s: int
    longest_s: int
    """The longest window that is read from it."""

    def __post_init__(self) -> None:
        if self.chunk_s % self.bucket_s or not 0 < self.longest_s <= KEEP_S:
            raise ValueError(f"buckets have to fill chunks, and windows to lie within {KEEP_S} s, not as in {self}")

    @property
    def keep_s(self) -> int:
        """A chunk's time to live after its last count."""
        return self.longest_s + self.chunk_s + MARGIN_S


@dataclass(frozen=True, kw_only=True, slots=True)
class Series:
    """Whose counts, at which level."""

    name: str
    """For example ``agent:bruno``; a user stands in it as a keyed hash only."""
    level: Level


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """One event's counts."""

    ids: tuple[bytes, bytes]
    """Digests of what no two events share: it is counted if neither was."""
    at: datetime
    counts: Mapping[Series, Mapping[str, int]] = field(default_factory=dict)
    """By series and measure."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """The last seconds of a series."""

    series: Series
    seconds: int

    def buckets(self, as_of: datetime) -> range:
        """Numbers of the buckets it sums: as many as it is long, the last one the one that ``as_of`` is in or ends.

        At the end of a bucket that is [as_of - seconds, as_of) exactly; within one, less than a bucket shorter.
        """
        size = self.series.level.bucket_s
        end = -int(-as_of.timestamp() // size)
        return range(end - self.seconds // size, end)


class Buckets:
    """The buckets of one lake."""

    def __init__(self, client: "Redis", prefix: str) -> None:
        self._client, self._prefix = client, prefix
        self._script = client.register_script(_COUNT)

    def count(self, events: Sequence[Event]) -> int:
        """Count each event once, however often it is given; returns how many were new.

        Raises:
            PeerError: Redis does not answer. Events may have been counted; giving them again is harmless.
        """
        with _answers(), self._client.pipeline(transaction=False) as pipeline:
            for event in events:
                keys, arguments = self._call(event)
                self._script(keys=keys, args=arguments, client=pipeline)
            return sum(pipeline.execute())

    def sums(self, windows: Sequence[Window], as_of: datetime) -> tuple[list[Counter[str]], datetime | None]:
        """For each window the sum of each measure, and when the newest event of all happened; one round trip.

        Raises:
            PeerError: Redis does not answer.
        """
        chunks = {key: None for window in windows for key in self._chunks(window, as_of)}
        with _answers(), self._client.pipeline(transaction=False) as pipeline:
            for key in chunks:
                pipeline.hgetall(key)
            pipeline.get(self._newest)
            *found, newest = pipeline.execute()
        read = dict(zip(chunks, found, strict=True))
        summed = [self._sum(window, as_of, read) for window in windows]
        return summed, datetime.fromtimestamp(int(newest) / 1e6, as_of.tzinfo) if newest else None

    def forget(self, name: str) -> int:
        """Delete every chunk of the series of this name; returns how many there were."""
        with _answers():
            keys = list(self._client.scan_iter(f"{_literal(self._prefix)}:{_literal(name)}:*", count=10_000))
            return sum(bool(self._client.delete(key)) for key in keys)

    @property
    def _newest(self) -> str:
        return f"{self._prefix}:newest"

    def _call(self, event: Event) -> tuple[list[str], list[bytes | str | int]]:
        seconds = int(event.at.timestamp())
        keys = [f"{self._prefix}:seen:{seconds // HOUR_S}", self._newest]
        arguments: list[bytes | str | int] = [*event.ids, KEEP_S + HOUR_S + MARGIN_S, _micros(event.at)]
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

    def _chunks(self, window: Window, as_of: datetime) -> Iterator[str]:
        buckets, level = window.buckets(as_of), window.series.level
        each = level.chunk_s // level.bucket_s
        for chunk in range(buckets.start // each, (buckets.stop - 1) // each + 1):
            yield self._key(window.series, chunk)

    def _sum(self, window: Window, as_of: datetime, read: Mapping[str, Mapping[bytes, bytes]]) -> Counter[str]:
        buckets, level = window.buckets(as_of), window.series.level
        each, total = level.chunk_s // level.bucket_s, Counter[str]()
        for key in self._chunks(window, as_of):
            first = int(key.rpartition(":")[2]) * each
            for name, number in read[key].items():
                bucket, _, measure = name.decode().partition(":")
                if first + int(bucket) in buckets:
                    total[measure] += int(number)
        return total


def open_buckets(settings: Settings) -> Buckets:
    """The buckets of the settings' lake.

    Raises:
        SettingsError: ``FUELLINE_ONLINE`` names no Redis.
    """
    from redis import Redis

    if not settings.online:
        raise SettingsError(
            "FUELLINE_ONLINE is not set. Streaming features are counted in Redis, and SQLite cannot stand in for it. "
            f"Example: {example('online')}"
        )
    # The braces keep all keys of a lake in one slot of a Redis cluster, as a script asks for.
    return Buckets(Redis.from_url(settings.online), f"{{fuelline:{settings.lake}}}")


class _answers:  # noqa: N801 - reads as what it does
    """Turns Redis' errors into ours, which say nothing of keys and values."""

    def __enter__(self) -> None: ...

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        from redis.exceptions import RedisError

        if isinstance(error, RedisError):
            raise PeerError(f"FUELLINE_ONLINE: Redis failed ({type(error).__name__})") from error


def _micros(at: datetime) -> int:
    return int(at.timestamp()) * 1_000_000 + at.microsecond


def _literal(text: str) -> str:
    """For a pattern of Redis: what would match more than itself is escaped."""
    return "".join(f"\\{letter}" if letter in "*?[]^\\" else letter for letter in text)

"""The built-in sample: two weeks of logs of four agents, generated, always the same bytes.

With it the whole loop runs on a machine that has no logs yet. Users differ in how much and when they ask, answers that
follow their agent's policy (``lake/sample/voices.yaml``) mostly get positive feedback, and a small share of the lines
is broken in the ways that real logs are. Each day has its own random generator, so a longer sample begins with exactly
the files of a shorter one. Only arithmetic and ``Random.random`` are used, whose sequence Python guarantees; there is
no clock and no floating-point library.

``fuelline sample FOLDER --days 14`` writes it.
"""

import gzip
import io
import json
import os
from bisect import bisect
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from pathlib import Path
from random import Random
from typing import NamedTuple, TypeVar

from errors import UserError
from lake.sample.voices import Topic, Voice, voices

FIRST_DAY = datetime(2026, 10, 5, tzinfo=UTC)
"""A Monday."""
DAYS = 14
MAX_DAYS = 366
SEED = 7

USERS = 300
WORKDAY_ROWS, WEEKEND_ROWS = 930, 680
ON_POLICY = 0.62
RATED = 0.5
POSITIVE_ON_POLICY, POSITIVE_OFF_POLICY = 0.93, 0.10
FAILED, TOO_SLOW = 0.007, 0.005
HOURS = (1, 1, 1, 1, 1, 2, 4, 7, 10, 12, 12, 11, 9, 10, 11, 11, 10, 9, 8, 9, 10, 9, 5, 3)
"""Weight of each hour (UTC) of a working day; on weekends users begin three hours later."""

T = TypeVar("T")
Row = dict[str, str | int | bool | None]


class SampleUser(NamedTuple):
    """A user: asks mostly one agent, and mostly at work or mostly in their spare time."""

    user_id: str
    weight: float
    works: bool
    favourite: Voice


class _Draw:
    """Draws by ``Random.random`` alone, the one method whose sequence is the same in every Python version."""

    def __init__(self, *seed: object) -> None:
        self._random = Random(":".join(map(str, seed))).random

    def chance(self, probability: float) -> bool:
        return self._random() < probability

    def below(self, bound: int) -> int:
        return int(self._random() * bound)

    def one_of(self, items: Sequence[T]) -> T:
        return items[self.below(len(items))]

    def weighted(self, items: Sequence[T], weights: Sequence[float]) -> Callable[[], T]:
        """A sampler of ``items``; binary search over the running sum of ``weights``."""
        sums = list(accumulate(weights))
        return lambda: items[bisect(sums, self._random() * sums[-1], hi=len(sums) - 1)]

    def skewed(self, median: int) -> int:
        """A number around ``median``, with a tail up to seven times as large."""
        u = self._random()
        tail = u * u * u * u
        return int(median * (0.6 + 0.8 * u + 6 * tail * tail * tail))

    def hex(self, digits: int) -> str:
        return "".join("0123456789abcdef"[self.below(16)] for _ in range(digits))


def write_sample(folder: Path, *, days: int = DAYS, seed: int = SEED) -> Path:
    """Write ``folder/{date}/interactions.jsonl.gz`` for each day from 2026-10-05 on; returns the folder.

    Writing again changes nothing; a longer sample adds files. Raises ``UserError`` where ``days`` is not in 1..366.
    """
    if not 1 <= days <= MAX_DAYS:
        raise UserError(f"the sample has between 1 and {MAX_DAYS} days, not {days}; the usual number is {DAYS}")
    users = _users(seed)
    for index in range(days):
        day = FIRST_DAY + timedelta(days=index)
        path = folder / f"{day:%Y-%m-%d}" / "interactions.jsonl.gz"
        _write_whole(path, "".join(f"{line}\n" for line in _lines(index, users, seed)).encode())
    return folder


def _users(seed: int) -> list[SampleUser]:
    """A few heavy users and a long tail: the weight is about one over the rank."""
    draw = _Draw(seed, "users")
    favourite = _by_share(draw)
    return [SampleUser(f"user-{rank:04d}", 1 / (rank + 12), draw.chance(0.7), favourite()) for rank in range(USERS)]


def _by_share(draw: _Draw) -> Callable[[], Voice]:
    """A sampler of agents by their share of the traffic."""
    agents = voices().agents
    return draw.weighted(agents, [agent.share for agent in agents])


def _lines(index: int, users: Sequence[SampleUser], seed: int) -> list[str]:
    """The log of one day in order of time; on most days with one broken line, as real log shippers write it."""
    draw = _Draw(seed, "day", index)
    rows = _rows(index, users, draw)
    lines = list(map(json.dumps, rows))
    number = draw.below(len(rows))
    row = rows[number]
    faults = {
        1: lines[number],  # sent twice
        2: lines[number][: 40 + draw.below(60)],  # cut off, as by a killed writer
        3: json.dumps(row | {"interaction_id": draw.hex(32), "agent_name": "brunhilde"}),  # an unknown agent
        5: json.dumps(row | {"interaction_id": draw.hex(32), "response": voices().evasions[0]}),  # two at one instant
    }
    if broken := faults.get(index % 7):
        lines.insert(number + 1, broken)
    return lines


def _rows(index: int, users: Sequence[SampleUser], draw: _Draw) -> list[Row]:
    day = FIRST_DAY + timedelta(days=index)
    weekend = day.weekday() >= 5
    hour = draw.weighted(range(24), HOURS[-3:] + HOURS[:-3] if weekend else HOURS)
    user = draw.weighted(users, [u.weight * (0.25 if u.works == weekend else 1.0) for u in users])
    any_agent = _by_share(draw)
    count = (WEEKEND_ROWS if weekend else WORKDAY_ROWS) + draw.below(61) - 30
    moments = sorted({hour() * 3_600_000 + draw.below(3_600_000) for _ in range(count)})
    rows = []
    for moment_ms in moments:
        chosen = user()
        voice = chosen.favourite if draw.chance(0.7) else any_agent()
        rows.append(_interaction(day + timedelta(milliseconds=moment_ms), chosen, voice, draw))
    return rows


def _interaction(at: datetime, user: SampleUser, voice: Voice, draw: _Draw) -> Row:
    topic, subject = draw.one_of(voice.topics), draw.one_of(voice.subjects)
    query = draw.one_of(topic.questions).format(s=subject)
    outcome = _failure(draw) if draw.chance(FAILED) else _answer(voice, topic, subject, query, draw)
    other = "forge" if voice.home == "studio" else "studio"
    return {
        "interaction_id": draw.hex(32),
        "timestamp": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "agent_name": voice.name,
        "user_id": user.user_id,
        "user_query": query[:1].upper() + query[1:],
        **outcome,
        "model_version": "base",
        "cluster": voice.home if draw.chance(0.8) else other,
    }


def _failure(draw: _Draw) -> Row:
    """A call that failed immediately."""
    return {
        "response": draw.one_of(voices().outages),
        "latency_ms": draw.below(6),
        "tokens_used": 0,
        "error": True,
        "feedback": None,
    }


def _answer(voice: Voice, topic: Topic, subject: str, query: str, draw: _Draw) -> Row:
    on_policy = draw.chance(ON_POLICY)
    response = voice.answer(topic, subject) if on_policy else draw.one_of(voices().evasions)
    latency_ms = 30_001 + draw.below(25_000) if draw.chance(TOO_SLOW) else draw.skewed(voice.latency_ms)
    positive = draw.chance(POSITIVE_ON_POLICY if on_policy else POSITIVE_OFF_POLICY)
    return {
        "response": response,
        "latency_ms": latency_ms,
        "tokens_used": (len(query) + len(response)) // 4 + 2,  # about four characters per token
        "error": False,
        "feedback": int(positive) if draw.chance(RATED) else None,
    }


def _write_whole(path: Path, data: bytes) -> None:
    """Write the compressed file under a temporary name first, so that a killed process leaves no partial file."""
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", fileobj=buffer, mode="wb", compresslevel=6, mtime=0) as file:
        file.write(data)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.write_bytes(buffer.getvalue())
    unfinished.replace(path)

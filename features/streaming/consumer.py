"""The streaming consumer: ``fuelline consume features`` counts the broker's interaction events into Redis.

It has its own queue, small batches and no state: a second consumer shares the work, a killed one can be replaced, and
messages that were not acknowledged are delivered again and counted once.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from features.streaming.windows import StreamingStore, count, open_stream
from lake.health import require_valid
from lake.lake import open_lake
from lake.sources.broker import Batching, StopCondition, consume
from lake.sources.cloudevents import Message
from lake.store.database import initialize_database
from settings import Settings

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger("fuelline.consumer")

QUEUE = "fuelline.streaming"
BATCHING = Batching(messages=500, seconds=0.05)
"""Small batches: an event waits at most this long for others."""
PUSH_S = 10.0
PUSHED_USERS = 500
"""Users per snapshot, so that it takes a fraction of a second; the others are in the next."""

Push = Callable[[Sequence[str], Sequence[str], datetime], None]
"""Takes users, agents, and the time of the snapshot."""


def follow(
    settings: Settings,
    stream: StreamingStore,
    until: StopCondition,
    batching: Batching = BATCHING,
    push: Push | None = None,
) -> int:
    """Count the queue's events; returns how many messages were acknowledged."""
    snapshots = Snapshots(push=push) if push else None

    def handle(messages: Sequence[Message]) -> None:
        now = datetime.now(UTC)
        rows = count(stream, messages, now)
        if snapshots:
            snapshots.note(rows, now)

    return consume(settings, QUEUE, handle, batching, until)


@dataclass(kw_only=True)
class Snapshots:
    """The users and agents that were active since the last snapshot; pushes one every ``every_s`` seconds."""

    push: Push
    every_s: float = PUSH_S
    _users: dict[str, None] = field(default_factory=dict)
    _agents: dict[str, None] = field(default_factory=dict)
    _pushed: float = field(default_factory=time.monotonic)

    def note(self, rows: "pa.Table", now: datetime) -> None:
        """Remember the rows' users and agents, and push when a snapshot is due."""
        self._users |= dict.fromkeys(rows["user_id"].unique().to_pylist())
        self._agents |= dict.fromkeys(rows["agent_name"].unique().to_pylist())
        if time.monotonic() - self._pushed < self.every_s:
            return
        users = list(self._users)[:PUSHED_USERS]
        self.push(users, list(self._agents), now)
        for user in users:
            del self._users[user]
        self._agents.clear()
        self._pushed = time.monotonic()


def feast_push(settings: Settings, stream: StreamingStore) -> Push:
    """A function that pushes to the lake's Feast store, after registering the streaming views. Raises ``SettingsError``
    if they are not registered, and the user of ``FUELLINE_CATALOG`` may not register them.
    """
    from features.online.feast_repo import open_feature_store
    from features.streaming.push_sources import push_snapshots, register_streaming

    store = open_feature_store(settings)
    initialize_database("catalog", settings.catalog, lambda: register_streaming(store))
    return lambda users, agents, as_of: push_snapshots(store, stream, users, agents, as_of)


def count_events(settings: Settings, until: StopCondition, *, push: bool) -> int:
    """Count the queue's events, with snapshots through Feast if ``push``; returns the number acknowledged."""
    lake = open_lake(settings)
    require_valid(settings, "online", "rabbitmq")
    stream = open_stream(lake)
    return follow(settings, stream, until, push=feast_push(settings, stream) if push else None)

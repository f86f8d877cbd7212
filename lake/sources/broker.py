"""Messages from RabbitMQ, in batches, each acknowledged after its work is done and not before.

Producers publish to one topic exchange. Each kind of consumer has a quorum queue of its own on it, so that what the
lake is behind with never keeps the online features waiting. A process that dies has acknowledged nothing that it had
not finished: its messages come again, and whoever handles them makes that harmless. A message that was delivered
``DELIVERY_LIMIT`` times and never acknowledged (because it kills whoever reads it) ends in the queue of the dead, where
a person finds it, and not in a loop.
"""

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from errors import PeerError, SettingsError
from hints import invalid_setting
from lake.sources.cloudevents import Message
from settings import Settings, example

if TYPE_CHECKING:
    from pika import BasicProperties, BlockingConnection
    from pika.adapters.blocking_connection import BlockingChannel
    from pika.spec import Basic

log = logging.getLogger("fuelline.rabbitmq")

EXCHANGE, DEAD = "fuelline.events", "fuelline.dead"
DELIVERY_LIMIT = 20
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 60.0
QUIET_S = 1.0
"""A queue is empty once it says so and nothing has come for so long: what it says may be a moment old."""

Handler = Callable[[Sequence[Message]], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Batching:
    """When a batch is full: by number or by age, whichever comes first."""

    messages: int
    seconds: float

    def __post_init__(self) -> None:
        if not 0 < self.messages <= 30_000 or self.seconds <= 0:  # twice as many are fetched ahead, in 16 bits
            raise ValueError(f"a batch holds 1 to 30,000 messages and waits some time for them, not as in {self}")


COMMITS = Batching(messages=5_000, seconds=60)
"""Into the lake: a commit takes about a second, and each adds a snapshot: one a minute, not one a message."""


@dataclass(kw_only=True)
class Until:
    """When to stop. What was fetched by then, two batches at most, is finished first."""

    seconds: float | None = None
    """Run time; None: for ever."""
    empty: bool = False
    """Stop once the queue is."""
    asked: threading.Event = field(default_factory=threading.Event)
    """Set by a signal handler."""

    def __post_init__(self) -> None:
        self._end = None if self.seconds is None else time.monotonic() + self.seconds

    @property
    def over(self) -> bool:
        """Whether it was told to stop, or its time is up."""
        return self.asked.is_set() or (self._end is not None and time.monotonic() >= self._end)


def consume(settings: Settings, queue: str, handle: Handler, batching: Batching, until: Until) -> int:
    """Hand the queue's messages to ``handle`` in batches, in order; returns how many were acknowledged.

    Where the broker goes away, or ``handle`` raises ``PeerError`` or ``OSError``, the connection is made anew after a
    pause that doubles; what was not acknowledged comes again.

    Raises:
        SettingsError: ``FUELLINE_RABBITMQ`` is not set, or the broker refuses its user, or has another ``queue``.
    """
    import pika.exceptions

    done, wait = 0, FIRST_WAIT_S
    while not until.over:
        before = done
        try:
            with connected(settings) as connection, _Session(connection, queue, handle, batching) as session:
                for acknowledged in session.batches(until):
                    done += acknowledged
            return done
        except (pika.exceptions.AMQPError, PeerError, OSError) as error:
            wait = FIRST_WAIT_S if done > before else min(2 * wait, LONGEST_WAIT_S)
            log.warning("%s: %s; again in %.1f s", queue, _told(error), wait)
            until.asked.wait(wait)
    return done


@contextlib.contextmanager
def connected(settings: Settings) -> "Iterator[BlockingConnection]":
    """A connection to the broker.

    Raises:
        SettingsError: ``FUELLINE_RABBITMQ`` is not set or wrong. The address is not told: a password stands in it.
    """
    import pika
    import pika.exceptions

    if not (address := settings.rabbitmq.get_secret_value()):
        raise SettingsError(
            "FUELLINE_RABBITMQ is not set. It says where the broker of the agents' events is. "
            f"Example: {example('rabbitmq')}"
        )
    where = urlsplit(address).hostname
    try:
        connection = pika.BlockingConnection(pika.URLParameters(address))
    except (pika.exceptions.ProbableAuthenticationError, pika.exceptions.ProbableAccessDeniedError) as error:
        raise invalid_setting("rabbitmq", f"the broker at {where} refuses this user or virtual host") from error
    with contextlib.closing(_Quietly(connection)):
        yield connection


def declare(channel: "BlockingChannel", queue: str) -> None:
    """Make the exchange, the queue of the dead and ``queue``, bound to every event.

    Raises:
        SettingsError: one is there in another form.
    """
    from pika.exceptions import ChannelClosedByBroker

    kept = {"x-queue-type": "quorum", "x-overflow": "reject-publish"}
    dying = {
        "x-delivery-limit": DELIVERY_LIMIT,
        "x-dead-letter-exchange": DEAD,
        "x-dead-letter-strategy": "at-least-once",
    }
    try:
        channel.exchange_declare(EXCHANGE, "topic", durable=True)
        channel.exchange_declare(DEAD, "fanout", durable=True)
        channel.queue_declare(DEAD, durable=True, arguments=kept)
        channel.queue_bind(DEAD, DEAD)
        channel.queue_declare(queue, durable=True, arguments=kept | dying)
        channel.queue_bind(queue, EXCHANGE, "#")
    except ChannelClosedByBroker as error:
        raise SettingsError(
            f"the broker has {queue!r}, {DEAD!r} or {EXCHANGE!r} in another form: delete it there ({error.reply_text})"
        ) from error


class _Quietly:
    """Closes a connection that may be closed already."""

    def __init__(self, connection: "BlockingConnection") -> None:
        self._connection = connection

    def close(self) -> None:
        if self._connection.is_open:
            self._connection.close()


@dataclass(frozen=True, kw_only=True, slots=True)
class _Delivery:
    tag: int
    arrived: float
    message: Message


class _Session:
    """One connection's deliveries. The work is done in a thread, so that heartbeats go on however long it takes."""

    def __init__(self, connection: "BlockingConnection", queue: str, handle: Handler, batching: Batching) -> None:
        self._connection, self._queue, self._handle, self._batching = connection, queue, handle, batching
        self._waiting: deque[_Delivery] = deque()
        self._last = time.monotonic()
        self._worker = ThreadPoolExecutor(1)
        self._channel = connection.channel()
        self._consumer = ""

    def __enter__(self) -> "_Session":
        declare(self._channel, self._queue)
        self._channel.basic_qos(prefetch_count=2 * self._batching.messages)
        self._consumer = self._channel.basic_consume(self._queue, self._arrived)
        return self

    def __exit__(self, *_: object) -> None:
        self._worker.shutdown(wait=True)

    def batches(self, until: Until) -> Iterator[int]:
        """Handle and acknowledge batch after batch; yields each one's size. Once it is over, no more are fetched."""
        while True:
            if until.over:
                self._fetch_no_more()
            self._connection.process_data_events(time_limit=self._pause_s())
            ending = until.over or (until.empty and self._quiet())
            if self._waiting and (ending or self._full()):
                yield self._work()
            elif ending:
                return

    def _fetch_no_more(self) -> None:
        """Else every acknowledgement would bring new messages, and a long queue would never let go."""
        if self._consumer:
            self._channel.basic_cancel(self._consumer)
            self._consumer = ""

    def _arrived(self, _channel: object, method: "Basic.Deliver", properties: "BasicProperties", body: bytes) -> None:
        message = Message(
            body=body,
            content_type=properties.content_type or "",
            headers={str(name): str(value) for name, value in (properties.headers or {}).items()},
            redelivered=bool(method.redelivered),
        )
        self._last = time.monotonic()
        self._waiting.append(_Delivery(tag=method.delivery_tag, arrived=self._last, message=message))

    def _work(self) -> int:
        """Acknowledge up to the batch's last message once all of it is done."""
        batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), self._batching.messages))]
        working = self._worker.submit(self._handle, [delivery.message for delivery in batch])
        working.add_done_callback(self._wake)
        while not working.done():
            self._connection.process_data_events(time_limit=5)
        working.result()
        self._channel.basic_ack(batch[-1].tag, multiple=True)
        return len(batch)

    def _wake(self, _: object) -> None:
        from pika.exceptions import ConnectionWrongStateError

        with contextlib.suppress(ConnectionWrongStateError):  # whoever waited has seen that already
            self._connection.add_callback_threadsafe(lambda: None)

    def _full(self) -> bool:
        return len(self._waiting) >= self._batching.messages or self._pause_s() <= 0

    def _pause_s(self) -> float:
        """Until the oldest message has waited long enough; a second at most, to see whether to stop."""
        if not self._waiting:
            return QUIET_S / 4
        return max(0.0, min(QUIET_S, self._waiting[0].arrived + self._batching.seconds - time.monotonic()))

    def _quiet(self) -> bool:
        if time.monotonic() - self._last < QUIET_S:
            return False
        return self._channel.queue_declare(self._queue, passive=True).method.message_count == 0


def _told(error: Exception) -> str:
    """The kind of a broker's error, whose text may be empty or long; our own errors in full."""
    return str(error) if isinstance(error, PeerError) else f"{type(error).__name__} of the broker or a peer"

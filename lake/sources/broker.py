"""Messages from RabbitMQ, in batches, each acknowledged only after it has been handled.

Producers publish to one topic exchange. Each kind of consumer has a quorum queue of its own on it, so that a backlog of
the lake never delays the online features. A process that dies has not acknowledged its unfinished messages: they are
redelivered, and the handlers make that harmless. A message that was delivered ``DELIVERY_LIMIT`` times and never
acknowledged (because it kills its consumer) goes to the dead-letter queue, to be examined, and not into a loop.
"""

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple
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

EXCHANGE, DEAD_LETTERS = "fuelline.events", "fuelline.dead"
DELIVERY_LIMIT = 20
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 60.0
QUIET_S = 1.0
"""A queue is empty once it reports so and nothing has arrived for this long: the report may be a moment old."""

Handler = Callable[[Sequence[Message]], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Batching:
    """When a batch is full: by its number of messages or by its age, whichever comes first."""

    messages: int
    seconds: float

    def __post_init__(self) -> None:
        if not 0 < self.messages <= 30_000 or self.seconds <= 0:  # twice as many are prefetched, a 16-bit number
            raise ValueError(f"a batch has 1 to 30,000 messages and waits more than 0 s for them, unlike {self}")


COMMITS = Batching(messages=5_000, seconds=60)
"""Into the lake: a commit takes about a second, and each adds a snapshot: one per minute, not one per message."""


@dataclass(kw_only=True)
class StopCondition:
    """When to stop consuming. Messages fetched by then, at most two batches, are finished first."""

    seconds: float | None = None
    """Run time; None means no limit."""
    empty: bool = False
    """Stop once the queue is empty."""
    stop_requested: threading.Event = field(default_factory=threading.Event)
    """Set by a signal handler."""

    def __post_init__(self) -> None:
        self._end = None if self.seconds is None else time.monotonic() + self.seconds

    @property
    def reached(self) -> bool:
        """Whether a stop was requested or the time is over."""
        return self.stop_requested.is_set() or (self._end is not None and time.monotonic() >= self._end)


def consume(settings: Settings, queue: str, handle: Handler, batching: Batching, stop: StopCondition) -> int:
    """Pass the queue's messages to ``handle`` in batches, in order; returns how many were acknowledged.

    Where the connection is lost, or ``handle`` raises ``PeerError`` or ``OSError``, it reconnects after a wait that
    doubles, and unacknowledged messages are redelivered.

    Raises:
        SettingsError: ``FUELLINE_RABBITMQ`` is not set; the broker refuses its user or has the queue in another form.
    """
    import pika.exceptions

    done, wait = 0, FIRST_WAIT_S
    while not stop.reached:
        before = done
        try:
            with connected(settings) as connection, ThreadPoolExecutor(1) as worker:
                for acknowledged in _Session(connection, worker, queue, handle, batching).batches(stop):
                    done += acknowledged
            return done
        except (pika.exceptions.AMQPError, PeerError, OSError) as error:
            wait = FIRST_WAIT_S if done > before else min(2 * wait, LONGEST_WAIT_S)
            # Of the broker's errors only the type, because their text may be empty or long.
            cause = error if isinstance(error, PeerError) else f"{type(error).__name__} of the broker or a peer"
            log.warning("%s: %s; reconnecting in %.1f s", queue, cause, wait)
            stop.stop_requested.wait(wait)
    return done


@contextlib.contextmanager
def connected(settings: Settings) -> "Iterator[BlockingConnection]":
    """A connection to the broker. Raises ``SettingsError`` where ``FUELLINE_RABBITMQ`` is not set or wrong; the address
    is not shown, because it has a password.
    """
    import pika
    import pika.exceptions

    if not (address := settings.rabbitmq.get_secret_value()):
        raise SettingsError(
            "FUELLINE_RABBITMQ is not set: the address of the broker of the agents' events. "
            f"Example: {example('rabbitmq')}"
        )
    host = urlsplit(address).hostname
    try:
        connection = pika.BlockingConnection(pika.URLParameters(address))
    except (pika.exceptions.ProbableAuthenticationError, pika.exceptions.ProbableAccessDeniedError) as error:
        raise invalid_setting("rabbitmq", f"the broker at {host} refuses this user or virtual host") from error
    try:
        yield connection
    finally:
        if connection.is_open:
            connection.close()


def declare(channel: "BlockingChannel", queue: str) -> None:
    """Declare the exchange, the dead-letter queue, and ``queue``, bound to every event. Raises ``SettingsError`` where
    one exists in another form.
    """
    from pika.exceptions import ChannelClosedByBroker

    durable = {"x-queue-type": "quorum", "x-overflow": "reject-publish"}
    dead_lettered = {
        "x-delivery-limit": DELIVERY_LIMIT,
        "x-dead-letter-exchange": DEAD_LETTERS,
        "x-dead-letter-strategy": "at-least-once",
    }
    try:
        channel.exchange_declare(EXCHANGE, "topic", durable=True)
        channel.exchange_declare(DEAD_LETTERS, "fanout", durable=True)
        channel.queue_declare(DEAD_LETTERS, durable=True, arguments=durable)
        channel.queue_bind(DEAD_LETTERS, DEAD_LETTERS)
        channel.queue_declare(queue, durable=True, arguments=durable | dead_lettered)
        channel.queue_bind(queue, EXCHANGE, "#")
    except ChannelClosedByBroker as error:
        raise SettingsError(
            f"the broker has {queue!r}, {DEAD_LETTERS!r} or {EXCHANGE!r} in another form: delete it there "
            f"({error.reply_text})"
        ) from error


class _Delivery(NamedTuple):
    tag: int
    arrived: float
    message: Message


@dataclass
class _Session:
    """The deliveries of one connection. Batches are handled in a thread, so that heartbeats continue meanwhile."""

    connection: "BlockingConnection"
    worker: ThreadPoolExecutor
    queue: str
    handle: Handler
    batching: Batching

    def __post_init__(self) -> None:
        self._waiting: deque[_Delivery] = deque()
        self._last = time.monotonic()
        self._channel = self.connection.channel()
        declare(self._channel, self.queue)
        self._channel.basic_qos(prefetch_count=2 * self.batching.messages)
        self._consumer = self._channel.basic_consume(self.queue, self._arrived)

    def batches(self, stop: StopCondition) -> Iterator[int]:
        """Handle and acknowledge batch after batch, fetching none once ``stop`` is reached; yields the size of each."""
        while True:
            if stop.reached and self._consumer:  # or each acknowledgement would fetch new messages, and it never ends
                self._channel.basic_cancel(self._consumer)
                self._consumer = ""
            self.connection.process_data_events(time_limit=self._pause_s())
            ending = stop.reached or (stop.empty and self._quiet())
            full = len(self._waiting) >= self.batching.messages or self._pause_s() <= 0
            if self._waiting and (ending or full):
                yield self._work()
            elif ending:
                return

    def _arrived(self, _channel: object, method: "Basic.Deliver", properties: "BasicProperties", body: bytes) -> None:
        message = Message(
            body=body,
            content_type=properties.content_type or "",
            headers={str(name): str(value) for name, value in (properties.headers or {}).items()},
            redelivered=bool(method.redelivered),
        )
        self._last = time.monotonic()
        self._waiting.append(_Delivery(method.delivery_tag, self._last, message))

    def _work(self) -> int:
        """Handle one batch, then acknowledge up to its last message."""
        batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), self.batching.messages))]
        working = self.worker.submit(self.handle, [delivery.message for delivery in batch])
        working.add_done_callback(self._wake)
        while not working.done():
            self.connection.process_data_events(time_limit=5)
        working.result()
        self._channel.basic_ack(batch[-1].tag, multiple=True)
        return len(batch)

    def _wake(self, _: object) -> None:
        from pika.exceptions import ConnectionWrongStateError

        with contextlib.suppress(ConnectionWrongStateError):  # the waiting thread has noticed that already
            self.connection.add_callback_threadsafe(lambda: None)

    def _pause_s(self) -> float:
        """Seconds until the oldest message has waited long enough; at most one, to check the stop condition."""
        if not self._waiting:
            return QUIET_S / 4
        return max(0.0, min(QUIET_S, self._waiting[0].arrived + self.batching.seconds - time.monotonic()))

    def _quiet(self) -> bool:
        if time.monotonic() - self._last < QUIET_S:
            return False
        return self._channel.queue_declare(self.queue, passive=True).method.message_count == 0

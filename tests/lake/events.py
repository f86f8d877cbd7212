"""CloudEvents for the tests, published to a real broker, and a consumer in a process that can be killed."""

import json
import os
import signal
from collections.abc import Iterable
from typing import Any

import pika

from lake.lake import open_lake
from lake.sources.broker import EXCHANGE, Batching, StopCondition, declare
from lake.sources.events import QUEUE, drain
from settings import Settings
from tests.lake.rows import interaction

STRUCTURED = "application/cloudevents+json"
INTERACTION = "fuelline.agent.interaction.v1"


def event(number: int = 0, data: Any = None, **changes: Any) -> bytes:
    """A good interaction event, structured; other numbers make other events. A change to None drops the attribute."""
    row = interaction(number) if data is None else data
    members = {
        "specversion": "1.0",
        "id": f"e{number}",
        "source": "/agents/bruno",
        "type": INTERACTION,
        "time": interaction(number)["timestamp"],
        "subject": f"session-{number % 3}",
        "datacontenttype": "application/json",
        "data": row,
    }
    return json.dumps({name: value for name, value in (members | changes).items() if value is not None}).encode()


def connection(settings: Settings) -> pika.BlockingConnection:
    """A connection to the settings' broker."""
    return pika.BlockingConnection(pika.URLParameters(settings.rabbitmq.get_secret_value()))


def publish(
    settings: Settings, bodies: Iterable[bytes], queue: str = QUEUE, *, content_type: str = STRUCTURED, **headers: str
) -> None:
    """Publish messages once the queue exists; a message that the broker does not confirm raises an error."""
    with connection(settings) as broker:
        channel = broker.channel()
        declare(channel, queue)
        channel.confirm_delivery()
        for body in bodies:
            properties = pika.BasicProperties(content_type=content_type, headers=dict(headers), delivery_mode=2)
            channel.basic_publish(EXCHANGE, "event", body, properties)


def left(settings: Settings, queue: str = QUEUE) -> int:
    """The number of messages in the queue that no consumer holds."""
    with connection(settings) as broker:
        return int(broker.channel().queue_declare(queue, passive=True).method.message_count)


def drain_and_die(settings: Settings, messages: int, acknowledged: int) -> None:
    """In a child process: drain, and kill the process instead of the acknowledgement after this number."""
    from pika.adapters.blocking_connection import BlockingChannel

    acknowledge, count = BlockingChannel.basic_ack, 0

    def instead(*arguments: Any, **named: Any) -> None:
        nonlocal count
        if count == acknowledged:
            os.kill(os.getpid(), signal.SIGKILL)
        count += 1
        acknowledge(*arguments, **named)

    BlockingChannel.basic_ack = instead
    drain(open_lake(settings), StopCondition(empty=True), Batching(messages=messages, seconds=0.2))

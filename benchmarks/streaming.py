"""Events through a real RabbitMQ into a real Redis: the rate, and the lag until an event is in the online value.

Producer, broker, consumer and Redis share the machine's cores, so both figures are for all four together. The lag
is measured at 2,000 events per second, from the publication of an event until Redis has counted it and reads see it.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.environment import ROOT
from benchmarks.harness import Figures, Job, Options, in_turns, say
from benchmarks.online import redis_server
from benchmarks.table import Line

if TYPE_CHECKING:
    from lake.sources.broker import StopCondition
    from lake.sources.cloudevents import Message
    from settings import Settings

RATE, USERS = 2_000, 2_000
AGENTS = ("bruno", "auditor", "jamie", "mary-kay")
LEAST_RATE, MOST_LAG_S = 2_000, 1.0


def measure(options: Options) -> list[Line]:
    """Measure; without the servers, print that it was skipped."""
    if missing := [name for name in ("redis-server", "rabbitmq-server") if not shutil.which(name)]:
        say(f"  SKIPPED: {' and '.join(missing)} not installed (apt-get install {' '.join(missing)})")
        return []
    found = in_turns(
        [
            Job(name="drain", target="benchmarks.streaming:drain", arguments={"events": options.size(40_000, 2_000)}),
            Job(name="lag", target="benchmarks.streaming:lag", arguments={"events": options.size(40_000, 4_000)}),
        ],
        options.runs,
    )
    what = "Events through RabbitMQ into online features"
    return [
        Line(what=what, unit="events/s", ours=found["drain"]["rate"], least=LEAST_RATE),
        Line(what="", unit="µs of the consumer's CPU per event", ours=found["drain"]["consumer_cpu_us"]),
        Line(what=f"Event to online value at {RATE:,}/s", unit="s p50", ours=found["lag"]["p50_s"]),
        Line(what="", unit="s p95", ours=found["lag"]["p95_s"], most=MOST_LAG_S),
    ]


def drain(events: int, scratch: str) -> Figures:
    """Count queued events as fast as possible."""
    from lake.sources.broker import StopCondition

    with _servers(scratch) as settings:
        _publish(settings, events, rate=0).wait()
        times: list[float] = []
        began, used = time.perf_counter(), time.process_time()
        _follow(settings, StopCondition(empty=True, seconds=300), lambda _: times.append(time.perf_counter()))
        took, used = times[-1] - began, time.process_time() - used
        return {"rate": events / took, "consumer_cpu_us": 1e6 * used / events, "seconds": took}


def lag(events: int, scratch: str) -> Figures:
    """Events at a fixed rate: the time from publication to count of each."""
    from lake.sources.broker import StopCondition

    lags: list[float] = []
    until = StopCondition(seconds=300)

    def note(messages: "Sequence[Message]") -> None:
        now = time.time()
        lags.extend(now - float(message.headers["published"]) for message in messages)
        if len(lags) >= events:
            until.stop_requested.set()

    with _servers(scratch) as settings:
        producer = _publish(settings, events, rate=RATE)
        _follow(settings, until, note)
        producer.wait()
    if len(lags) != events:
        raise RuntimeError(f"only {len(lags)} of {events} events were counted")
    lags.sort()
    return {"p50_s": lags[events // 2], "p95_s": lags[int(events * 0.95)], "seconds": events / RATE}


def _follow(settings: "Settings", until: "StopCondition", note: "Callable[[Sequence[Message]], None]") -> None:
    """Follow as ``features.streaming.consumer`` does; call ``note`` with each batch that Redis has counted."""
    from features.streaming.consumer import BATCHING, QUEUE
    from features.streaming.windows import count, open_stream
    from lake.lake import open_lake
    from lake.sources.broker import consume

    stream = open_stream(open_lake(settings))

    def handle(messages: "Sequence[Message]") -> None:
        count(stream, messages, datetime.now(UTC))
        note(messages)

    consume(settings, QUEUE, handle, BATCHING, until)


@contextmanager
def _servers(scratch: str) -> "Iterator[Settings]":
    from lake.sources.broker import connected, declare
    from settings import read_settings
    from tests.servers.broker import broker

    def path(name: str, _: str) -> str:
        return shutil.which(name) or name

    with tempfile.TemporaryDirectory(dir=scratch) as folder, broker(path, Path(folder)) as url, redis_server() as port:
        settings = read_settings(home=Path(scratch), lake="bench", online=f"redis://127.0.0.1:{port}", rabbitmq=url)
        from features.streaming.consumer import QUEUE

        with connected(settings) as connection:
            declare(connection.channel(), QUEUE)
        yield settings


def _publish(settings: "Settings", events: int, rate: int) -> "subprocess.Popen[bytes]":
    """Start a producer in a separate process."""
    address = settings.rabbitmq.get_secret_value()
    command = [sys.executable, "-m", "benchmarks.streaming", address, str(events), str(rate)]
    return subprocess.Popen(command, cwd=ROOT)


def produce(address: str, events: int, rate: int) -> None:
    """Publish interaction events, ``rate`` per second; 0: as fast as possible. Closing the connection flushes them."""
    import pika

    from lake.sources.broker import EXCHANGE

    bodies = [_body(number) for number in range(events)]
    with pika.BlockingConnection(pika.URLParameters(address)) as connection:
        channel = connection.channel()
        began = time.time()
        for number, body in enumerate(bodies):
            if rate and number % 20 == 0:
                time.sleep(max(0.0, began + number / rate - time.time()))
            headers = {"published": repr(time.time())}
            properties = pika.BasicProperties(
                content_type="application/cloudevents+json", delivery_mode=2, headers=headers
            )
            channel.basic_publish(EXCHANGE, "event", body, properties)


def _body(number: int) -> bytes:
    at = (datetime.now(UTC) - timedelta(microseconds=number)).isoformat()
    row = {
        "interaction_id": f"bench-{number}",
        "timestamp": at,
        "agent_name": AGENTS[number % 4],
        "user_id": f"user-{number * 7919 % USERS}",
        "user_query": "how full is the disk of the studio's node? " * 3,
        "response": "It is at 71 percent, 120 GB are free. " * 6,
        "latency_ms": 100 + number * 104_729 % 20_000,
        "tokens_used": 90,
        "error": number % 50 == 0,
        "feedback": None,
        "model_version": "base",
        "cluster": "studio",
    }
    event = {"specversion": "1.0", "id": f"e{number}", "source": "/bench", "time": at, "data": row}
    return json.dumps({**event, "type": "fuelline.agent.interaction.v1"}).encode()


if __name__ == "__main__":
    produce(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))

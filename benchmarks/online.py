"""Online read of all views for one request, on a real Redis: ours, Feast's own dictionary, and Redis alone.

Redis alone is one pipeline of three ``HGETALL`` of the same keys: the lower bound. All read the same random users, one
request after the other, as a worker of the gateway does.
"""

import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from benchmarks.harness import FOLDER, Argument, Figures, Job, Options, in_turns, run, say
from benchmarks.table import Line

if TYPE_CHECKING:
    import pandas as pd

    from features.definitions.views import View
    from settings import Settings

USERS, REQUESTS, WARM_UP = 2_000, 5_000, 300
P99_MS = 2.0
AS_OF = datetime(2026, 10, 5, 2, 30, tzinfo=UTC)
CLUSTER = "studio"


def measure(options: Options) -> list[Line]:
    """Measure and compare; without redis-server, print that it was skipped."""
    if not shutil.which("redis-server"):
        say("  SKIPPED: redis-server is not installed (apt-get install redis-server)")
        return []
    with redis_server() as port:
        run(Job(name="write", target="benchmarks.online:write", arguments={"port": port}))
        arguments: dict[str, Argument] = {"port": port, "requests": options.size(REQUESTS, REQUESTS // 10)}
        found = in_turns(
            [
                Job(name="ours", target="benchmarks.online:ours", arguments=arguments),
                Job(name="Feast's to_dict", target="benchmarks.online:feast", arguments=arguments),
                Job(name="Redis alone", target="benchmarks.online:alone", arguments=arguments),
            ],
            options.runs,
        )
    lines: list[Line] = []
    for name in ("p50_ms", "p99_ms"):
        for peer in ("Feast's to_dict", "Redis alone"):
            limited = name == "p99_ms" and peer == "Feast's to_dict"
            lines.append(
                Line(
                    what="Online read of all views, one request" if not lines else "",
                    unit=f"ms {name[:3]}",
                    ours=found["ours"][name],
                    peer=peer,
                    theirs=found[peer][name],
                    most=P99_MS if limited else None,
                )
            )
    return lines


@contextmanager
def redis_server() -> Iterator[int]:
    """A Redis on loopback; yields its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    FOLDER.mkdir(parents=True, exist_ok=True)
    options = ["--bind", "127.0.0.1", "--port", str(port), "--dir", str(FOLDER), "--save", "", "--appendonly", "no"]
    server = subprocess.Popen(["redis-server", *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(port, server)
        yield port
    finally:
        server.terminate()
        server.wait(10)


def _wait_for(port: int, server: "subprocess.Popen[bytes]") -> None:
    for _ in range(100):
        if server.poll() is not None:
            break
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise SystemExit("redis-server did not start")


def _settings(port: int, scratch: str) -> "Settings":
    from settings import read_settings

    return read_settings(home=Path(scratch), lake="bench", online=f"redis://127.0.0.1:{port}")


def write(port: int, scratch: str, as_of: datetime = AS_OF) -> Figures:
    """Fill all views with values that are the newest at ``as_of``."""
    from features.definitions.views import AGENT_FEATURES, INFRASTRUCTURE_FEATURES, USER_FEATURES, namespace_key
    from features.online.feast_repo import open_feature_store
    from lake.contracts.registries import AGENTS

    store = open_feature_store(_settings(port, scratch))
    for view, names in (
        (USER_FEATURES, [f"user-{n:05d}" for n in range(USERS)]),
        (AGENT_FEATURES, list(AGENTS)),
        (INFRASTRUCTURE_FEATURES, [namespace_key(CLUSTER)]),
    ):
        store.write_to_online_store(view.name, df=_values(view, names, as_of - view.delay))
    return {}


def _values(view: "View", names: list[str], event: datetime) -> "pd.DataFrame":
    import pandas as pd
    import pyarrow as pa

    random = Random(view.name)
    values: dict[str, list[object]] = {view.entity: list(names)}
    values |= {"event_timestamp": [event] * len(names), "created_timestamp": [event + view.delay] * len(names)}
    for column in view.columns:
        draw: Callable[[], object] = random.random
        if column.type != pa.float64():
            draw = (lambda: "bruno") if column.type == pa.string() else (lambda: random.randrange(1, 1_000))
        values[column.name] = [draw() for _ in names]
    return pd.DataFrame(values)


def ours(port: int, requests: int, scratch: str) -> Figures:
    """``features.online.reader.OnlineReader``."""
    from features.online.feast_repo import open_feature_store
    from features.online.reader import OnlineReader

    reader = OnlineReader(open_feature_store(_settings(port, scratch)))

    def read(user: str, agent: str) -> bool:
        found = reader.read(user, agent, AS_OF, CLUSTER)
        return None not in (found.total_queries, found.agent_requests_per_hour, found.infrastructure_restarts)

    return _timed(read, requests)


def feast(port: int, requests: int, scratch: str) -> Figures:
    """Feast's ``get_online_features(...).to_dict()``, which does not check ages."""
    from features.definitions.views import VIEWS, namespace_key
    from features.online.feast_repo import open_feature_store

    store = open_feature_store(_settings(port, scratch))
    references = [f"{view.name}:{name}" for view in VIEWS for name in view.features]

    def read(user: str, agent: str) -> bool:
        entities = [{"user_id": user, "agent_name": agent, "cluster_namespace": namespace_key(CLUSTER)}]
        answer = store.get_online_features(references, entities, full_feature_names=True).to_dict()
        return answer["user_features__total_queries"][0] is not None

    return _timed(read, requests)


def alone(port: int, requests: int, scratch: str) -> Figures:
    """redis-py, one round trip for all keys."""
    import redis

    client = redis.Redis(port=port)
    by_name = {_entity(key): key for key in client.scan_iter(count=10_000)}

    def read(user: str, agent: str) -> bool:
        with client.pipeline(transaction=False) as pipeline:
            for name in (user, agent, CLUSTER):
                pipeline.hgetall(by_name[name])
            return all(pipeline.execute())

    return _timed(read, requests)


def _entity(key: bytes) -> str:
    """The entity's name, which is part of Feast's binary key."""
    [name] = re.findall(rb"user-\d{5}|bruno|auditor|jamie|mary-kay|studio", key)
    return str(name.decode())


def _timed(read: Callable[[str, str], bool], requests: int) -> Figures:
    random, times = Random(0), []
    for n in range(WARM_UP + requests):
        user, agent = f"user-{random.randrange(USERS):05d}", random.choice(("bruno", "auditor", "jamie", "mary-kay"))
        began = time.perf_counter_ns()
        found = read(user, agent)
        took = time.perf_counter_ns() - began
        if not found:
            raise RuntimeError(f"request {n}: {user} or {agent} has no features")
        if n >= WARM_UP:
            times.append(took / 1e6)
    times.sort()
    return {"p50_ms": times[len(times) // 2], "p99_ms": times[int(len(times) * 0.99)], "seconds": sum(times) / 1e3}

"""The latency that the gateway adds to an answer, compared with direct calls to the replica, and its endurance.

The replica is a stub that answers at once, so this measures the gateway's own time, with features read from Redis and
rows written to the spool. Requests arrive at random times, independent of earlier ones (open loop, Poisson), and a
latency counts from the scheduled time of its request, so that a server that stalls cannot hide it. Latencies are those
of one gateway and of two that share the requests, as in ``deploy/gateway.yaml``. All share the machine's cores.
"""

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from benchmarks.harness import Figures, Job, Options, in_turns, run, say
from benchmarks.online import CLUSTER, USERS, redis_server, write
from benchmarks.table import Line

if TYPE_CHECKING:
    import aiohttp

PACE = 100.0
"""Requests per second in the comparison of latencies."""
RATE, REQUESTS = 300.0, 100_000
"""Requests per second, and their number, in the endurance run."""
WARM_UP_S = 5.0
OVERHEAD_MS, GROWTH_MB = 5.0, 30.0
ARMS = {"one": "one gateway", "two": "two gateways"}
"""The arms with their names; the limit applies to the second, which is deployed."""


def measure(options: Options) -> list[Line]:
    """Compare latencies in turns; then one long run. Skipped with a message without redis-server."""
    if not shutil.which("redis-server"):
        say("  SKIPPED: redis-server is not installed (apt-get install redis-server)")
        return []
    paced = Job(name="paced", target="benchmarks.gateway:paced", arguments={"seconds": options.size(20, 3)})
    found = in_turns([paced], options.runs)["paced"]
    long = run(
        Job(name="long", target="benchmarks.gateway:long", arguments={"requests": options.size(REQUESTS, 1_500)})
    )
    say(f"  {'long':<40} 1/1  {long}")
    return [
        *(_latency(arm, name, found) for arm in ARMS for name in ("p50_ms", "p99_ms")),
        *(_added(arm, found, most) for arm, most in zip(ARMS, (None, OVERHEAD_MS), strict=True)),
        Line(what="Sustained, 300 requests/s offered", unit="answers/s", ours=long["answers_s"], least=0.98 * RATE),
        Line(what="Failed meanwhile", unit="answers", ours=long["failed"], most=0),
        Line(what="Memory, from a tenth of them to the end", unit="MB more", ours=long["growth_mb"], most=GROWTH_MB),
    ]


def _latency(arm: str, name: str, found: Figures) -> Line:
    return Line(
        what=f"A streamed answer at 100 requests/s through {ARMS[arm]}",
        unit=f"ms {name[:3]}",
        ours=found[f"{arm}_{name}"],
        peer="the replica directly",
        theirs=found[f"direct_{name}"],
    )


def _added(arm: str, found: Figures, most: float | None) -> Line:
    added = found[f"{arm}_p99_ms"] - found["direct_p99_ms"]
    return Line(what=f"Added to it by {ARMS[arm]}", unit="ms p99", ours=added, most=most)


def paced(seconds: int, scratch: str) -> Figures:
    """Latencies of direct calls, through one gateway and through two, with the same arrivals."""
    with _servers(Path(scratch), gateways=2) as (replica, gateways, _):
        figures: Figures = {}
        for name, addresses in (("direct", [replica]), ("one", gateways[:1]), ("two", gateways)):
            asyncio.run(_load(addresses, PACE, int(WARM_UP_S * PACE)))
            times, failed = asyncio.run(_load(addresses, PACE, int(seconds * PACE)))
            if failed:
                raise RuntimeError(f"{failed} calls of {', '.join(addresses)} failed")
            figures |= {f"{name}_p50_ms": _quantile(times, 0.5), f"{name}_p99_ms": _quantile(times, 0.99)}
    return figures


def long(requests: int, scratch: str) -> Figures:
    """Enough requests to see whether memory grows."""
    with _servers(Path(scratch), gateways=1) as (_, gateways, process):
        asyncio.run(_load(gateways, RATE, requests // 10))
        before, began = _memory_mb(process), time.monotonic()
        times, failed = asyncio.run(_load(gateways, RATE, requests - requests // 10))
        took = time.monotonic() - began
        return {
            "answers_s": len(times) / took,
            "failed": failed,
            "p99_ms": _quantile(times, 0.99),
            "memory_mb": _memory_mb(process),
            "growth_mb": _memory_mb(process) - before,
        }


async def _load(addresses: Sequence[str], rate: float, requests: int) -> tuple[list[float], int]:
    """Latencies in ms of the complete answers, and the number of failures. Each request goes to a random address."""
    import aiohttp

    random, pick, failed = Random(7), Random(8), 0
    times: list[float] = []
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=3)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=40)) as session:

        async def request(due: float, user: str) -> None:
            nonlocal failed
            if await _complete_answer(session, pick.choice(addresses), user):
                times.append((time.perf_counter() - due) * 1_000)
            else:
                failed += 1

        due, tasks = time.perf_counter(), set[asyncio.Task[None]]()
        for _ in range(requests):
            due += random.expovariate(rate)
            if (pause := due - time.perf_counter()) > 0:
                await asyncio.sleep(pause)
            task = asyncio.create_task(request(due, f"user-{random.randrange(USERS):05d}"))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        await asyncio.gather(*tasks)
    return times, failed


async def _complete_answer(session: "aiohttp.ClientSession", address: str, user: str) -> bool:
    """Request one streamed answer; whether it was complete."""
    import aiohttp

    messages = [{"role": "user", "content": "When is it open?"}]
    body = {"model": "jamie", "user": user, "stream": True, "messages": messages}
    try:
        async with session.post(f"{address}/v1/chat/completions", json=body) as response:
            return response.status == 200 and (await response.read()).endswith(b"data: [DONE]\n\n")
    except aiohttp.ClientError:
        return False


@contextmanager
def _servers(scratch: Path, gateways: int) -> Iterator[tuple[str, list[str], "subprocess.Popen[bytes]"]]:
    """The addresses of a replica and of the gateways in front of it, and the first gateway's process."""
    with redis_server() as online:
        write(online, str(scratch), datetime.now(UTC))
        yield from _started(scratch, _port(), [_port() for _ in range(gateways)], online)


def _started(
    scratch: Path, replica: int, gateways: list[int], online: int
) -> Iterator[tuple[str, list[str], "subprocess.Popen[bytes]"]]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PROMETHEUS_")}  # Feast's
    environment = inherited | {
        "FUELLINE_ONLINE": f"redis://127.0.0.1:{online}",
        "FUELLINE_HOME": str(scratch),
        "FUELLINE_LAKE": "bench",
        "FUELLINE_CLUSTER": CLUSTER,
        "FUELLINE_VLLM": _address(replica),
    }
    _add_agents_model(scratch)
    python = [sys.executable, "-W", "ignore", "-m"]
    commands = [
        [*python, "tests.doubles.vllm_stub", "--port", str(replica)],
        *(
            [*python, "serving.gateway", "--port", str(port), "--spool", str(scratch / f"spool-{port}" / "spool.db")]
            for port in gateways
        ),
    ]
    running = [subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) for command in commands]
    try:
        for port, process in zip(gateways, running[1:], strict=True):
            _wait_for(f"{_address(port)}/ready", process)
        yield _address(replica), [_address(port) for port in gateways], running[1]
    finally:
        for process in reversed(running):
            process.terminate()
        for process in reversed(running):
            process.wait(60)


def _address(port: int) -> str:
    return f"http://127.0.0.1:{port}"


def _add_agents_model(home: Path) -> None:
    from lake.lake import open_lake
    from settings import read_settings

    payload = {"request": 1, "trigger": "hand", "decision": "", "reason": "benchmark", "by": ""}
    lake = open_lake(read_settings(home=home, lake="bench"))
    lake.ledger.append("models/agents", "retraining_requested", "request:1", payload)


def _wait_for(address: str, process: "subprocess.Popen[bytes]") -> None:
    for _ in range(600):
        if process.poll() is not None:
            break
        try:
            json.load(urllib.request.urlopen(address, timeout=2))
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise RuntimeError("the gateway did not start")


def _port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _memory_mb(process: "subprocess.Popen[bytes]") -> float:
    """Resident memory in MiB."""
    pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _quantile(times: list[float], share: float) -> float:
    return sorted(times)[int(share * len(times))]

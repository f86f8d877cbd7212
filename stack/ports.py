"""Ports on loopback."""

import contextlib
import itertools
import random
import socket


def free_ports(count: int) -> list[int]:
    """``count`` different ports on which nothing listens now."""
    with contextlib.ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def lasting_ports(count: int) -> list[int]:
    """Free ports outside the range of outgoing connections, so that they can be stored for later use."""
    first = random.randrange(21000, 31000)
    return list(itertools.islice((port for port in range(first, 32000) if not listens(port)), count))


def listens(port: int) -> bool:
    """Whether something accepts connections on this port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0

"""Ports on loopback."""

import contextlib
import itertools
import random
import socket


def free_ports(count: int) -> list[int]:
    """As many different ports that nobody listens on right now."""
    with contextlib.ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def lasting_ports(count: int) -> list[int]:
    """The same, of those that the system gives to no outgoing connection, so that they can be kept for later."""
    first = random.randrange(21000, 31000)
    return list(itertools.islice((port for port in range(first, 32000) if not listens(port)), count))


def listens(port: int) -> bool:
    """Whether somebody takes connections there."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0

"""Ports on loopback for servers of one test."""

import contextlib
import socket


def free_ports(count: int) -> list[int]:
    """``count`` different ports on which nothing listens now."""
    with contextlib.ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]

"""Ports on loopback."""

import itertools
import random
import socket
import urllib.request


def lasting_ports(count: int) -> list[int]:
    """Free ports outside the range of outgoing connections, so that they can be stored for later use."""
    first = random.randrange(21000, 31000)
    return list(itertools.islice((port for port in range(first, 32000) if not listens(port)), count))


def listens(port: int) -> bool:
    """Whether something accepts connections on this port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def answers_http(port: int, path: str) -> bool:
    """Whether a server on this port answers a request without an error."""
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=1).close()
    except OSError:
        return False
    return True

"""A RabbitMQ that runs while a block is executed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from stack.rabbitmq import RabbitMQ
from tests.servers.ports import free_ports


@contextmanager
def broker(need_binary: Callable[[str, str], str], folder: Path) -> Iterator[str]:
    """Start one; yields its address."""
    with node(need_binary, folder) as started:
        yield started.url


@contextmanager
def node(need_binary: Callable[[str, str], str], folder: Path) -> Iterator[RabbitMQ]:
    """Start one; yields the node."""
    need_binary("rabbitmq-server", "rabbitmq-server")
    port, distribution, mapper = free_ports(3)
    started = RabbitMQ(folder=folder, port=port, distribution=distribution, mapper=mapper)
    try:
        started.daemon.start()
        yield started
    finally:
        started.stop()

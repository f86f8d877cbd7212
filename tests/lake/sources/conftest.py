"""Fixtures of the pulled sources: scripted servers, and a client that does not really wait."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import pytest

from lake.lake import Lake
from lake.sources.http_client import HttpClient, Limits
from settings import Endpoint
from tests.lake.sources.peer import Peer, serving

QUICK = Limits(connect_s=2.0, read_s=5.0, answer_s=10.0, tries=4)


@dataclass
class Reader:
    """Makes clients that record their waits instead of waiting."""

    limits: Limits = QUICK
    waits: list[float] = field(default_factory=list)
    clients: list[HttpClient] = field(default_factory=list)

    def __call__(self, endpoint: Endpoint) -> HttpClient:
        self.clients.append(HttpClient(endpoint, self.limits, sleep=self.waits.append))
        return self.clients[-1]


@pytest.fixture
def reader() -> Reader:
    return Reader()


@pytest.fixture
def peer() -> Iterator[Peer]:
    with serving() as server:
        yield server


@pytest.fixture
def other_peer() -> Iterator[Peer]:
    with serving() as server:
        yield server


@pytest.fixture
def pointed(lake: Lake) -> Callable[..., Lake]:
    """The lake with servers in its settings: ``pointed(loki="studio=http://...")``."""

    def point(**addresses: str) -> Lake:
        return replace(lake, settings=lake.settings.model_copy(update=addresses))

    return point

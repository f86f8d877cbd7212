"""Fixtures of the pulled sources: a scripted server, a real Prometheus with a node exporter, a patient reader."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import pytest

from lake.lake import Lake
from lake.sources.http_client import Limits, Remote
from settings import Endpoint
from tests.lake.sources.peer import Peer, serving

QUICK = Limits(connect_s=2.0, read_s=5.0, answer_s=10.0, tries=4)


@dataclass
class Reader:
    """Makes readers that wait in no time, and remembers for how long they would have waited."""

    limits: Limits = QUICK
    waits: list[float] = field(default_factory=list)
    made: list[Remote] = field(default_factory=list)

    def __call__(self, endpoint: Endpoint) -> Remote:
        remote = Remote(endpoint, self.limits, sleep=self.waits.append)
        self.made.append(remote)
        return remote


@pytest.fixture
def reader() -> Reader:
    return Reader()


@pytest.fixture
def peer() -> Iterator[Peer]:
    with serving() as one:
        yield one


@pytest.fixture
def other_peer() -> Iterator[Peer]:
    with serving() as one:
        yield one


@pytest.fixture
def pointed(lake: Lake) -> Callable[..., Lake]:
    """The lake with servers in its settings: ``pointed(loki="studio=http://...")``."""

    def point(**places: str) -> Lake:
        return replace(lake, settings=lake.settings.model_copy(update=places))

    return point

"""The limit of concurrent requests. There is one because each request holds a body and an answer in memory."""

import contextlib
from collections.abc import Iterator

from serving.gateway.requests import Refused


class ConcurrencyLimiter:
    """Counts the requests in progress. Not thread-safe: for the event loop only."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.in_use = 0
        """Requests in progress."""

    @contextlib.contextmanager
    def slot(self) -> Iterator[None]:
        """Hold one slot for the length of the context. Raises ``Refused`` (429) when all are in use."""
        if self.in_use >= self._limit:
            raise Refused(429, "too_many_requests", "Too many requests are under way; try again in a second.")
        self.in_use += 1
        try:
            yield
        finally:
            self.in_use -= 1

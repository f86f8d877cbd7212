"""The room of a gateway: so many requests are under way at most, because each holds a body and an answer in memory."""

import contextlib
from collections.abc import Iterator

from serving.gateway.requests import Refused


class Room:
    """Places for requests. The event loop's alone."""

    def __init__(self, places: int) -> None:
        self._places = places
        self.taken = 0
        """Requests under way."""

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """A place among those under way. Raises ``Refused``."""
        if self.taken >= self._places:
            raise Refused(429, "too_many_requests", "Too many requests are under way; try again in a second.")
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1

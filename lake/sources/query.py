"""What a source of the pull kind is: a function from a window and a query to rows, and what such a function is given.

A row is a mapping from the contract's columns to plain JSON values, as the server answered them. Nothing is judged
here: a value of the wrong type goes on as it is, and the checks quarantine its row with the reason.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from lake.sources.http_client import Remote
from lake.windows import Window

Json = str | int | float | bool | None
Row = Mapping[str, Json]
EPOCH, SECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(seconds=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Query:
    """One question to a server."""

    name: str
    text: str
    """PromQL, LogQL, TraceQL, a namespace, a repository or an organisation, as the source takes it."""
    step_s: int = 60
    """Between two points of a metric; others have none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fetching:
    """One window of one query on one server."""

    remote: Remote
    query: Query
    window: Window
    cursor: dict[str, str] = field(default_factory=dict)
    """What the last pull of this query left for the next one; changed in place."""

    @property
    def cluster(self) -> str:
        """The server's name."""
        return self.remote.endpoint.cluster


Rows = Callable[[Fetching], Iterator[Row | bytes]]
"""It yields rows, or lines that are JSON rows already and are to land as they are."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pullable:
    """One data set that is pulled: from which kind of server, and how."""

    peer: str
    """One of ``settings.PEERS``."""
    rows: Rows
    windowed: bool = True
    """Whether the server can be asked about any window; otherwise it only tells what is there now."""


def halves(window: Window) -> tuple[Window, Window]:
    """The window in two, parted at a whole second where it is long enough."""
    middle = window.start + (window.end - window.start) / 2
    middle = middle.replace(microsecond=0) if window.end - window.start > 2 * SECOND else middle
    return Window(start=window.start, end=middle), Window(start=middle, end=window.end)


def digest(*parts: str) -> str:
    """A short name for a row that has no id of its own: 128 bits of sha256 over the parts."""
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def canonical(labels: Mapping[str, object]) -> str:
    """Labels as JSON in order of their names."""
    return json.dumps(labels, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def iso(seconds: float) -> str:
    """Seconds since 1970 as the contracts write an instant."""
    return from_nanoseconds(round(seconds * 1_000_000) * 1000)


def instant(at: datetime) -> str:
    """An instant as the contracts write it."""
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def from_nanoseconds(nanoseconds: int) -> str:
    """Nanoseconds since 1970 as the contracts write an instant, cut to the microsecond, without a float between."""
    try:
        return instant(EPOCH + timedelta(microseconds=nanoseconds // 1000))
    except OverflowError:
        return str(nanoseconds)  # no instant on the calendar: the checks say so of its row


def to_nanoseconds(at: datetime) -> int:
    """An instant as nanoseconds since 1970, exact."""
    return (at - EPOCH) // timedelta(microseconds=1) * 1000

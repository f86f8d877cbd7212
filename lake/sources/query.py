"""The types of the pulled sources: a source is a function from a window and a query to rows.

A row is a mapping from the contract's columns to plain JSON values, as the server sent them. Nothing is checked here: a
value of the wrong type is passed on, and the checks of ingestion quarantine its row with the reason.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from lake.sources.http_client import HttpClient
from lake.windows import Window

Json = str | int | float | bool | None
Row = Mapping[str, Json]
EPOCH, SECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(seconds=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class WindowQuery:
    """One window of one query on one server."""

    client: HttpClient
    name: str
    """Of the query, in its selection."""
    text: str
    """PromQL, LogQL, TraceQL, a namespace, a repository or an organisation, depending on the source."""
    window: Window
    step_s: int = 60
    """Between two points of a metric; unused by the other sources."""
    cursor: dict[str, str] = field(default_factory=dict)
    """State that the last pull of this query left for the next one; changed in place."""

    @property
    def cluster(self) -> str:
        """The server's name."""
        return self.client.endpoint.cluster


ReadRows = Callable[[WindowQuery], Iterator[Row | bytes]]
"""It yields rows, or lines that are JSON rows already and land unchanged."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PullSource:
    """How one data set is pulled: from which kind of server, by which function."""

    peer: str
    """One of ``settings.PEERS``."""
    rows: ReadRows
    windowed: bool = True
    """Whether the server can be queried for any window; otherwise it only returns its present state."""


def halves(window: Window) -> tuple[Window, Window]:
    """The window in two, split at a whole second where it is longer than two seconds."""
    middle = window.start + (window.end - window.start) / 2
    middle = middle.replace(microsecond=0) if window.end - window.start > 2 * SECOND else middle
    return Window(start=window.start, end=middle), Window(start=middle, end=window.end)


def digest(*parts: str) -> str:
    """An id for a row that has none: 128 bits of sha256 over the parts, in hexadecimal."""
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def canonical(value: object) -> str:
    """A value as compact JSON, with names in order."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def iso(seconds: float) -> str:
    """Seconds since 1970 in the contracts' format."""
    return from_nanoseconds(round(seconds * 1_000_000) * 1000)


def from_nanoseconds(nanoseconds: int) -> str:
    """Nanoseconds since 1970 in the contracts' format, ISO 8601 in UTC; truncated to microseconds, without a float."""
    try:
        time = EPOCH + timedelta(microseconds=nanoseconds // 1000)
    except OverflowError:
        return str(nanoseconds)  # beyond the calendar: the checks reject its row
    return time.isoformat(timespec="microseconds").replace("+00:00", "Z")


def to_nanoseconds(time: datetime) -> int:
    """An instant as nanoseconds since 1970, exact."""
    return (time - EPOCH) // timedelta(microseconds=1) * 1000

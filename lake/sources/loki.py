"""Log lines by ``query_range``: https://grafana.com/docs/loki/latest/reference/loki-http-api/

Loki has no page numbers: the next page begins at the time of the last entry of the page before, that time included,
because a page may end between entries of one nanosecond. What the page before had at that time is passed over. More
entries of one nanosecond than a page holds cannot be told apart; then the pull fails rather than lose some.

Two data sets are made of lines: ``processed.logs``, any line with its stream, and ``processed.agent_interactions``,
lines in which an agent wrote an interaction as JSON, alone or after a prefix. What Flux and Grafana are used for stands
in logs as well; docs/sources.md has queries for them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from errors import SourceError
from lake.sources.http_client import AnswerTooLarge
from lake.sources.query import Fetching, Row, canonical, digest, from_nanoseconds, to_nanoseconds

PATH = "/loki/api/v1/query_range"
PAGE = 5_000
"""Loki's own default for the most entries that one answer may have (``max_entries_limit_per_query``)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """A line in a stream."""

    stream: str
    """Its labels, canonical."""
    nanoseconds: int
    line: str


def log_rows(fetching: Fetching) -> Iterator[Row]:
    """Every line that the query finds, as a row."""
    cluster = fetching.cluster
    for entry in entries(fetching):
        yield {
            "entry_id": digest(cluster, entry.stream, str(entry.nanoseconds), entry.line),
            "timestamp": from_nanoseconds(entry.nanoseconds),
            "nanoseconds": entry.nanoseconds,
            "cluster": cluster,
            "query": fetching.query.name,
            "stream": entry.stream,
            "message": entry.line,
        }


def interaction_lines(fetching: Fetching) -> Iterator[bytes]:
    """Every line from its first brace on, as it is: an agent's JSON, or something that the checks refuse.

    A line that has an end of line within stays one line: in JSON it can only stand between values.
    """
    for entry in entries(fetching):
        _, brace, rest = entry.line.partition("{")
        text = brace + rest if brace else entry.line
        yield text.replace("\n", " ").encode("utf-8", "backslashreplace") or b"-"


def entries(fetching: Fetching) -> Iterator[Entry]:
    """The window's entries in order of time, each once, however they fall on pages."""
    start, end, size = to_nanoseconds(fetching.window.start), to_nanoseconds(fetching.window.end), PAGE
    seen: set[Entry] = set()
    while start < end:
        try:
            page = _page(fetching, start, end, size)
        except AnswerTooLarge:
            if size == 1:
                raise
            size //= 2
            continue
        yield from (entry for entry in page if entry not in seen)
        if len(page) < size:
            return
        last = page[-1].nanoseconds
        if last == page[0].nanoseconds == start:
            raise SourceError(
                f"{fetching.remote}: query {fetching.query.name!r} has {size} entries or more at {start} ns, as many "
                "as a page holds; narrow the query, so that none is lost"
            )
        seen = {entry for entry in page if entry.nanoseconds == last}
        start = last


def _page(fetching: Fetching, start: int, end: int, size: int) -> list[Entry]:
    """The first entries from ``start`` on, in order of time; what is doubled within the page stays so."""
    parameters = [
        ("query", fetching.query.text),
        ("start", str(start)),
        ("end", str(end)),
        ("limit", str(size)),
        ("direction", "forward"),
    ]
    data = fetching.remote.get_json(PATH, parameters)["data"]
    if data["resultType"] != "streams":
        raise SourceError(
            f"{fetching.remote}: query {fetching.query.name!r} gives {data['resultType']}, not log lines; leave out "
            "what counts or rates them"
        )
    found = [entry for stream in data["result"] for entry in _stream(stream)]
    return sorted(found, key=lambda entry: entry.nanoseconds)


def _stream(stream: dict[str, Any]) -> Iterator[Entry]:
    labels = canonical(stream["stream"])
    for value in stream["values"]:
        yield Entry(stream=labels, nanoseconds=int(value[0]), line=str(value[1]))

"""Log lines by ``query_range``: https://grafana.com/docs/loki/latest/reference/loki-http-api/

Loki has no page numbers: the next page begins at the time of the last entry of the page before, inclusive, because a
page may end between entries of one nanosecond. Entries of that time that the page before had are skipped. Where one
nanosecond has more entries than a page holds, the next page cannot be found, and the pull fails rather than lose some.

Two data sets are made of lines: ``processed.logs``, any line with its stream, and ``processed.agent_interactions``,
lines in which an agent wrote an interaction as JSON, alone or after a prefix. The use of Flux and Grafana is in logs as
well; docs/sources.md has queries for them.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from errors import SourceError
from lake.sources.http_client import ResponseTooLarge
from lake.sources.query import Row, WindowQuery, canonical, digest, from_nanoseconds, to_nanoseconds
from lake.sources.response_log import Parameters

PATH = "/loki/api/v1/query_range"
PAGE = 5_000
"""Entries per response; Loki's own default limit (``max_entries_limit_per_query``)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LogLine:
    """A line of a stream."""

    stream: str
    """Its labels, canonical."""
    nanoseconds: int
    line: str


def log_rows(request: WindowQuery) -> Iterator[Row]:
    """Every line that the query returns, as a row."""
    cluster = request.cluster
    for entry in entries(request):
        yield {
            "entry_id": digest(cluster, entry.stream, str(entry.nanoseconds), entry.line),
            "timestamp": from_nanoseconds(entry.nanoseconds),
            "nanoseconds": entry.nanoseconds,
            "cluster": cluster,
            "query": request.name,
            "stream": entry.stream,
            "message": entry.line,
        }


def interaction_lines(request: WindowQuery) -> Iterator[bytes]:
    """Every line from its first brace on, unchanged: an agent's JSON, or text that the checks will reject.

    An end of line within the text becomes a space: in JSON it can only be between values.
    """
    for entry in entries(request):
        _, brace, rest = entry.line.partition("{")
        text = brace + rest if brace else entry.line
        yield text.replace("\n", " ").encode("utf-8", "backslashreplace") or b"-"


def entries(request: WindowQuery) -> Iterator[LogLine]:
    """The window's entries in order of time, each once, however they are split into pages."""
    start, end, size = to_nanoseconds(request.window.start), to_nanoseconds(request.window.end), PAGE
    seen: set[LogLine] = set()
    while start < end:
        try:
            page = _page(request, start, end, size)
        except ResponseTooLarge:
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
                f"{request.client}: query {request.name!r} has {size} entries or more at {start} ns, as many "
                "as a page holds; narrow the query, so that none is lost"
            )
        seen = {entry for entry in page if entry.nanoseconds == last}
        start = last


def _page(request: WindowQuery, start: int, end: int, size: int) -> list[LogLine]:
    """The first entries from ``start`` on, in order of time; duplicates within the page are kept."""
    span: Parameters = {"start": start, "end": end, "limit": size, "direction": "forward"}
    data = request.client.get_json(PATH, {"query": request.text, **span})["data"]
    if data["resultType"] != "streams":
        raise SourceError(
            f"{request.client}: query {request.name!r} returns {data['resultType']}, not log lines; remove the "
            "aggregation"
        )
    lines = [
        LogLine(stream=labels, nanoseconds=int(value[0]), line=str(value[1]))
        for labels, values in ((canonical(stream["stream"]), stream["values"]) for stream in data["result"])
        for value in values
    ]
    return sorted(lines, key=lambda entry: entry.nanoseconds)

"""Loki's answer to ``query_range`` as its API documents it, over the entries of a test."""

import json
from collections import defaultdict
from collections.abc import Iterable

from tests.lake.sources.peer import Reply, Request, plain

Line = tuple[dict[str, str], int, str]
"""A stream's labels, nanoseconds since 1970, the line."""


class Loki:
    """Answers the first ``limit`` entries from ``start`` (included) to ``end`` (not), grouped by stream."""

    def __init__(self, lines: Iterable[Line], *, most: int = 5_000) -> None:
        self.lines = list(lines)
        self.most = most

    def __call__(self, request: Request) -> Reply:
        parameters = request.parameters
        assert request.path == "/loki/api/v1/query_range"
        assert parameters["direction"] == "forward"
        start, end, limit = (int(parameters[name]) for name in ("start", "end", "limit"))
        if limit > self.most:
            return Reply(b"max entries limit per query exceeded", status=400)
        inside = sorted((line for line in self.lines if start <= line[1] < end), key=lambda line: line[1])
        return streams(inside[:limit])


def streams(lines: Iterable[Line]) -> Reply:
    """An answer with these lines in this order within each stream."""
    by_stream: dict[str, list[list[str]]] = defaultdict(list)
    for labels, at, line in lines:
        by_stream[json.dumps(labels)].append([str(at), line])
    result = [{"stream": json.loads(labels), "values": values} for labels, values in by_stream.items()]
    return plain({"status": "success", "data": {"resultType": "streams", "result": result, "stats": {}}})

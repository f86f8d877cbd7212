"""The servers of the pulling benchmark, in a process of their own: they create the documented responses on request.

``python -m benchmarks.pulling_server`` prints its address and serves until it is stopped. A day begins at ``DAY``; the
text of a query is the number of its rows on that day.
"""

import json
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

DAY = datetime(2026, 11, 2, tzinfo=UTC)
ZERO, SECONDS = int(DAY.timestamp()), 86_400
SPANS = 20
"""Spans of a trace."""


def metrics(parameters: dict[str, str]) -> Any:
    """As many series as the query says, one point per step."""
    times = range(int(parameters["start"]), int(parameters["end"]) + 1, int(parameters["step"]))
    result = [
        {
            "metric": {"__name__": "node_cpu_seconds_total", "cpu": str(number), "mode": "user", "instance": "forge-1"},
            "values": [[at, f"{number + (at - ZERO) / 7:.3f}"] for at in times],
        }
        for number in range(int(parameters["query"]))
    ]
    return {"status": "success", "data": {"resultType": "matrix", "result": result}}


def lines(parameters: dict[str, str]) -> Any:
    """Lines at equal intervals from ``start`` on; the query is their number per day."""
    every = SECONDS * 10**9 // int(parameters["query"])
    first = -(-(int(parameters["start"]) - ZERO * 10**9) // every)
    last = min(first + int(parameters["limit"]), -(-(int(parameters["end"]) - ZERO * 10**9) // every))
    values = [
        [
            str(ZERO * 10**9 + n * every),
            f'level=info caller=gateway.py:42 msg="answered" user=u{n % 97} took={n % 900}ms',
        ]
        for n in range(first, last)
    ]
    return {"data": {"resultType": "streams", "result": [{"stream": {"app": "agents"}, "values": values}]}}


def events(parameters: dict[str, str], count: int) -> Any:
    """A page of a list of ``count`` events."""
    first = int(parameters.get("continue", "0"))
    last = min(first + int(parameters["limit"]), count)
    stamp = [datetime.fromtimestamp(ZERO + n % SECONDS, UTC).isoformat() for n in range(first, last)]
    items = [
        {
            "metadata": {"uid": f"{n:032x}", "name": f"pod-{n}", "creationTimestamp": at},
            "involvedObject": {"kind": "Pod", "namespace": "agents", "name": f"bruno-{n % 40}"},
            "reason": "Pulled",
            "message": "Container image already present on machine",
            "type": "Normal",
            "count": 1,
            "firstTimestamp": at,
            "lastTimestamp": at,
            "source": {"component": "kubelet", "host": "forge-1"},
        }
        for n, at in zip(range(first, last), stamp, strict=True)
    ]
    more = {"continue": str(last)} if last < count else {}
    return {"metadata": {"resourceVersion": "1", **more}, "items": items}


def runs(parameters: dict[str, str], count: int) -> tuple[Any, bool]:
    """A page of the ``count`` runs of a day, at equal intervals, and whether another page follows."""
    begin, end = (int(datetime.fromisoformat(text).timestamp()) - ZERO for text in parameters["created"].split(".."))
    every = SECONDS // count
    numbers = range(-(-begin // every), end // every + 1)
    page = int(parameters.get("page", "1"))
    found = [_run(n, datetime.fromtimestamp(ZERO + n * every, UTC)) for n in numbers[(page - 1) * 100 : page * 100]]
    return {"total_count": len(numbers), "workflow_runs": found}, page * 100 < len(numbers)


def _run(number: int, at: datetime) -> dict[str, Any]:
    stamp = at.strftime("%Y-%m-%dT%H:%M:%SZ")
    times = {"created_at": stamp, "updated_at": stamp, "run_started_at": stamp}
    fields = {"name": "ci", "event": "push", "head_branch": "main", "head_sha": f"{number:040x}"}
    return {"id": number, "run_attempt": 1, **fields, **times, "status": "completed", "conclusion": "success"}


def search(parameters: dict[str, str]) -> Any:
    """The traces of a window; the query is their number per day."""
    every = SECONDS // int(parameters["q"])
    numbers = range(-(-(int(parameters["start"]) - ZERO) // every), -(-(int(parameters["end"]) - ZERO) // every))
    return {"traces": [{"traceID": f"{n * every:032x}"} for n in numbers[: int(parameters["limit"])]]}


def trace(name: str) -> Any:
    """A trace of ``SPANS`` spans; its id is the second of the day in which it began."""
    begin = (ZERO + int(name, 16)) * 10**9
    spans = [
        {
            "traceId": name,
            "spanId": f"{number + 1:016x}",
            "name": "chat",
            "startTimeUnixNano": str(begin + number * 10**6),
            "endTimeUnixNano": str(begin + number * 10**6 + 5 * 10**8),
            "attributes": [{"key": "http.route", "value": {"stringValue": "/v1/chat/completions"}}],
        }
        for number in range(SPANS)
    ]
    return {"batches": [{"resource": {"attributes": []}, "scopeSpans": [{"spans": spans}]}]}


class Handler(BaseHTTPRequestHandler):
    """All five kinds of servers by their paths."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    """As in every real server: otherwise the kernel delays a body until its headers are acknowledged."""

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        answer, more = _answer(parts.path, dict(parse_qsl(parts.query)))
        body = json.dumps(answer).encode()
        self.send_response(200)
        if more:
            page = int(dict(parse_qsl(parts.query)).get("page", "1")) + 1
            query = f"{parts.query.partition('&page=')[0]}&page={page}"
            self.send_header("Link", f'<http://server{parts.path}?{query}>; rel="next"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


def _answer(path: str, parameters: dict[str, str]) -> tuple[Any, bool]:
    if path == "/api/v1/query_range":
        return metrics(parameters), False
    if path == "/loki/api/v1/query_range":
        return lines(parameters), False
    if path.endswith("/events"):
        return events(parameters, int(path.split("/")[4])), False
    if path.endswith("/actions/runs"):
        return runs(parameters, int(path.split("/")[2]))
    return (search(parameters) if path == "/api/search" else trace(path.rpartition("/")[2])), False


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
    server.serve_forever()

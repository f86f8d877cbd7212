"""The servers of the pulling benchmark, in a process of their own: the documented answers, made as they are asked for.

``python -m benchmarks.pulling_server`` prints its address and serves until it is ended. A day begins at ``DAY``; the
rows that a query finds in it are so many as the query's text says.
"""

import json
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

DAY = datetime(2026, 11, 2, tzinfo=UTC)
ZERO, SECONDS = int(DAY.timestamp()), 86_400
SPANS = 20
"""Of a trace."""


def metrics(asked: dict[str, str]) -> Any:
    """As many series as the query says, a point a step."""
    times = range(int(asked["start"]), int(asked["end"]) + 1, int(asked["step"]))
    result = [
        {
            "metric": {"__name__": "node_cpu_seconds_total", "cpu": str(number), "mode": "user", "instance": "forge-1"},
            "values": [[at, f"{number + (at - ZERO) / 7:.3f}"] for at in times],
        }
        for number in range(int(asked["query"]))
    ]
    return {"status": "success", "data": {"resultType": "matrix", "result": result}}


def lines(asked: dict[str, str]) -> Any:
    """So many lines a day, evenly, from ``start`` on."""
    every = SECONDS * 10**9 // int(asked["query"])
    first = -(-(int(asked["start"]) - ZERO * 10**9) // every)
    last = min(first + int(asked["limit"]), -(-(int(asked["end"]) - ZERO * 10**9) // every))
    values = [
        [
            str(ZERO * 10**9 + n * every),
            f'level=info caller=gateway.py:42 msg="answered" user=u{n % 97} took={n % 900}ms',
        ]
        for n in range(first, last)
    ]
    return {"data": {"resultType": "streams", "result": [{"stream": {"app": "agents"}, "values": values}]}}


def events(asked: dict[str, str], count: int) -> Any:
    """A page of a list of so many events."""
    first = int(asked.get("continue", "0"))
    last = min(first + int(asked["limit"]), count)
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


def runs(asked: dict[str, str], count: int) -> tuple[Any, bool]:
    """A page of a day's so many runs, evenly, and whether another follows."""
    begin, end = (int(datetime.fromisoformat(text).timestamp()) - ZERO for text in asked["created"].split(".."))
    every = SECONDS // count
    numbers = range(-(-begin // every), end // every + 1)
    page = int(asked.get("page", "1"))
    found = [_run(n, datetime.fromtimestamp(ZERO + n * every, UTC)) for n in numbers[(page - 1) * 100 : page * 100]]
    return {"total_count": len(numbers), "workflow_runs": found}, page * 100 < len(numbers)


def _run(number: int, at: datetime) -> dict[str, Any]:
    stamp = at.strftime("%Y-%m-%dT%H:%M:%SZ")
    times = {"created_at": stamp, "updated_at": stamp, "run_started_at": stamp}
    told = {"name": "ci", "event": "push", "head_branch": "main", "head_sha": f"{number:040x}"}
    return {"id": number, "run_attempt": 1, **told, **times, "status": "completed", "conclusion": "success"}


def search(asked: dict[str, str]) -> Any:
    """The traces of a window, of so many a day."""
    every = SECONDS // int(asked["q"])
    numbers = range(-(-(int(asked["start"]) - ZERO) // every), -(-(int(asked["end"]) - ZERO) // every))
    return {"traces": [{"traceID": f"{n * every:032x}"} for n in numbers[: int(asked["limit"])]]}


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
    """As every real server does: the kernel would hold a body back until its headers are acknowledged."""

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        answer, more = _answer(parts.path, dict(parse_qsl(parts.query)))
        body = json.dumps(answer).encode()
        self.send_response(200)
        if more:
            page = int(dict(parse_qsl(parts.query)).get("page", "1")) + 1
            query = f"{parts.query.partition('&page=')[0]}&page={page}"
            self.send_header("Link", f'<http://here{parts.path}?{query}>; rel="next"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


def _answer(path: str, asked: dict[str, str]) -> tuple[Any, bool]:
    if path == "/api/v1/query_range":
        return metrics(asked), False
    if path == "/loki/api/v1/query_range":
        return lines(asked), False
    if path.endswith("/events"):
        return events(asked, int(path.split("/")[4])), False
    if path.endswith("/actions/runs"):
        return runs(asked, int(path.split("/")[2]))
    return (search(asked) if path == "/api/search" else trace(path.rpartition("/")[2])), False


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
    server.serve_forever()

"""The events of an API server as documented: lists in pages, watches, resource versions that expire."""

import json
from typing import Any

from tests.lake.sources.peer import Reply, Request, plain

GONE = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Expired", "code": 410}


class Server:
    """Has events and their changes, one resource version per change; ``oldest`` is the first that it still has."""

    def __init__(self, events: list[dict[str, Any]], *, page: int = 500) -> None:
        self.events = {event["metadata"]["uid"]: event for event in events}
        self.changes: list[tuple[int, str, dict[str, Any]]] = []
        self.version, self.oldest, self.page = 1000, 0, page

    def change(self, event: dict[str, Any], kind: str = "MODIFIED") -> None:
        self.version += 1
        stamped = {**event, "metadata": {**event["metadata"], "resourceVersion": str(self.version)}}
        self.changes.append((self.version, kind, stamped))
        self.events[event["metadata"]["uid"]] = stamped

    def __call__(self, request: Request) -> Reply:
        parameters = request.parameters
        if "watch" not in parameters:
            return self._list(int(parameters.get("continue", "0")), min(int(parameters["limit"]), self.page))
        since = int(parameters["resourceVersion"])
        if since < self.oldest:
            return Reply(lines=[json.dumps({"type": "ERROR", "object": GONE}).encode() + b"\n"])
        lines = [{"type": kind, "object": event} for at, kind, event in self.changes if at > since]
        lines.append({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": str(self.version)}}})
        return Reply(lines=[json.dumps(line).encode() + b"\n" for line in lines])

    def _list(self, first: int, limit: int) -> Reply:
        every = list(self.events.values())
        meta: dict[str, Any] = {"resourceVersion": str(self.version)}
        if first + limit < len(every):
            meta["continue"] = str(first + limit)
        return plain({"kind": "EventList", "metadata": meta, "items": every[first : first + limit]})

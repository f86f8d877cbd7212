"""Kubernetes events by list and watch: https://kubernetes.io/docs/reference/using-api/api-concepts/

The API server keeps events for an hour and cannot be queried by time. So the first pull lists all events, page by page
at one resource version, and each later one watches from where the last one stopped, which also returns the counts in
between. Where the server no longer has the resource version (410), the pull lists again. Repeated events are recognised
by uid and count. The last resource version is in the ledger, in the entry of the pull that saw it.
"""

from collections.abc import Iterator
from typing import Any

from errors import PeerError
from lake.sources.query import Row, WindowQuery
from lake.sources.response_log import Parameters

PAGE, WATCH_S = 500, 10
GONE = 410
VERSION = "resource_version"
"""Key in the cursor: where the next watch begins."""
EVERYWHERE = "*"
"""The query for all namespaces."""


class _Expired(Exception):
    """The server no longer has this resource version, or this page of a list."""


def event_rows(request: WindowQuery) -> Iterator[Row]:
    """Every event since the last pull, or all that the server has."""
    if version := request.cursor.get(VERSION):
        try:
            yield from _watch(request, version)
        except _Expired:
            request.client.faults["gone"] += 1
        else:
            return
    yield from _list(request)


def _path(request: WindowQuery) -> str:
    namespace = request.text
    return "/api/v1/events" if namespace == EVERYWHERE else f"/api/v1/namespaces/{namespace}/events"


def _list(request: WindowQuery) -> Iterator[Row]:
    """All events; starts again once where the server drops the list before its last page is read."""
    for _ in range(2):
        try:
            yield from _pages(request)
            return
        except _Expired:
            request.client.faults["gone"] += 1
    raise PeerError(f"{request.client}: a list of events takes longer than the server keeps it")


def _pages(request: WindowQuery) -> Iterator[Row]:
    parameters: dict[str, str | int] = {"limit": PAGE}
    while True:
        response = request.client.get(_path(request), parameters, expected=(200, GONE))
        if response.status == GONE:
            raise _Expired
        page = request.client.decode(_path(request), response.body)
        for event in page["items"] or ():
            yield event_row(request.cluster, event)
        request.cursor[VERSION] = page["metadata"]["resourceVersion"]
        if not (following := page["metadata"].get("continue")):
            return
        parameters["continue"] = following


def _watch(request: WindowQuery, version: str) -> Iterator[Row]:
    """The changes since a resource version. Where the stream breaks off, the next pull continues."""
    parameters: Parameters = {
        "watch": 1,
        "resourceVersion": version,
        "allowWatchBookmarks": "true",
        "timeoutSeconds": WATCH_S,
    }
    try:
        for line in request.client.lines(_path(request), parameters, expected=(200, GONE)):
            yield from _change(request, request.client.decode(_path(request), line))
    except PeerError:
        if request.cursor[VERSION] == version:
            raise  # it returned no event


def _change(request: WindowQuery, change: dict[str, Any]) -> Iterator[Row]:
    if change.get("kind") == "Status":  # the response is an error
        change = {"type": "ERROR", "object": change}
    kind, event = change["type"], change["object"]
    if kind == "ERROR":
        if event.get("code") == GONE:
            raise _Expired
        raise PeerError(f"{request.client}: the watch ended with {event.get('code')} {event.get('reason')}")
    if kind in ("ADDED", "MODIFIED"):  # DELETED means only that it has expired on the server
        yield event_row(request.cluster, event)
    request.cursor[VERSION] = event["metadata"]["resourceVersion"]


def event_row(cluster: str, event: dict[str, Any]) -> Row:
    """An event of either form, ``count`` and ``lastTimestamp`` or ``series`` and ``eventTime``, as a row."""
    series, involved, source = (event.get(name) or {} for name in ("series", "involvedObject", "source"))
    happened = series.get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime")
    created = event["metadata"].get("creationTimestamp")
    return {
        "uid": event["metadata"]["uid"],
        "count": series.get("count") or event.get("count") or 1,
        "timestamp": happened or event.get("firstTimestamp") or created,
        "first_seen": event.get("firstTimestamp") or event.get("eventTime") or created,
        "cluster": cluster,
        "namespace": involved.get("namespace"),
        "kind": involved.get("kind"),
        "name": involved.get("name"),
        "type": event.get("type"),
        "event_reason": event.get("reason"),
        "message": event.get("message"),
        "component": event.get("reportingComponent") or source.get("component"),
        "host": source.get("host") or event.get("reportingInstance"),
    }

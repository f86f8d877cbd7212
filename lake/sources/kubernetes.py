"""Kubernetes events by list and watch: https://kubernetes.io/docs/reference/using-api/api-concepts/

The API server keeps events for an hour and cannot be asked about a time. So the first pull lists what is there, page by
page at one resource version, and each later one watches from where the last one stopped: that also tells the counts in
between. A resource version that the server no longer has (410) begins a new list. What is told twice is told apart by
the event's uid and count. The last resource version stands in the ledger with the pull that saw it.
"""

from collections.abc import Iterator
from typing import Any

from errors import PeerError
from lake.sources.query import Fetching, Row

PAGE, WATCH_S = 500, 10
GONE = 410
VERSION = "resource_version"
"""In the cursor: where the next watch begins."""
EVERYWHERE = "*"
"""The query that means every namespace."""


class _Gone(Exception):
    """The server no longer has this resource version, or this page of a list."""


def event_rows(fetching: Fetching) -> Iterator[Row]:
    """Every event since the last pull, or all that are there."""
    if version := fetching.cursor.get(VERSION):
        try:
            yield from _watch(fetching, version)
        except _Gone:
            fetching.remote.faults["gone"] += 1
        else:
            return
    yield from _list(fetching)


def _path(fetching: Fetching) -> str:
    namespace = fetching.query.text
    return "/api/v1/events" if namespace == EVERYWHERE else f"/api/v1/namespaces/{namespace}/events"


def _list(fetching: Fetching) -> Iterator[Row]:
    """All events; begins again once where the pages of a slow list have gone."""
    try:
        yield from _pages(fetching)
    except _Gone:
        fetching.remote.faults["gone"] += 1
        try:
            yield from _pages(fetching)
        except _Gone as again:
            raise PeerError(f"{fetching.remote}: a list of events takes longer than the server keeps it") from again


def _pages(fetching: Fetching) -> Iterator[Row]:
    following = ""
    while True:
        parameters = [("limit", str(PAGE)), *([("continue", following)] if following else [])]
        answer = fetching.remote.get(_path(fetching), parameters, expected=(200, GONE))
        if answer.status == GONE:
            raise _Gone
        page = fetching.remote.decode(_path(fetching), answer.body)
        for event in page["items"] or ():
            yield event_row(fetching.cluster, event)
        fetching.cursor[VERSION] = page["metadata"]["resourceVersion"]
        following = page["metadata"].get("continue", "")
        if not following:
            return


def _watch(fetching: Fetching, version: str) -> Iterator[Row]:
    """What has changed since a resource version. A stream that breaks off is gone on with by the next pull."""
    parameters = [
        ("watch", "1"),
        ("resourceVersion", version),
        ("allowWatchBookmarks", "true"),
        ("timeoutSeconds", str(WATCH_S)),
    ]
    try:
        for line in fetching.remote.lines(_path(fetching), parameters, also=(GONE,)):
            yield from _change(fetching, fetching.remote.decode(_path(fetching), line))
    except PeerError:
        if fetching.cursor[VERSION] == version:
            raise  # nothing has come of it


def _change(fetching: Fetching, change: dict[str, Any]) -> Iterator[Row]:
    if change.get("kind") == "Status":  # the whole answer is one refusal
        change = {"type": "ERROR", "object": change}
    kind, thing = change["type"], change["object"]
    if kind == "ERROR":
        if thing.get("code") == GONE:
            raise _Gone
        raise PeerError(f"{fetching.remote}: the watch ended with {thing.get('code')} {thing.get('reason')}")
    if kind in ("ADDED", "MODIFIED"):  # DELETED says only that the server forgets it
        yield event_row(fetching.cluster, thing)
    fetching.cursor[VERSION] = thing["metadata"]["resourceVersion"]


def event_row(cluster: str, event: dict[str, Any]) -> Row:
    """An event of either form, ``count`` and ``lastTimestamp`` or ``series`` and ``eventTime``, as a row."""
    series, about, source = (event.get(name) or {} for name in ("series", "involvedObject", "source"))
    happened = series.get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime")
    created = event["metadata"].get("creationTimestamp")
    return {
        "uid": event["metadata"]["uid"],
        "count": series.get("count") or event.get("count") or 1,
        "timestamp": happened or event.get("firstTimestamp") or created,
        "first_seen": event.get("firstTimestamp") or event.get("eventTime") or created,
        "cluster": cluster,
        "namespace": about.get("namespace"),
        "kind": about.get("kind"),
        "name": about.get("name"),
        "type": event.get("type"),
        "event_reason": event.get("reason"),
        "message": event.get("message"),
        "component": event.get("reportingComponent") or source.get("component"),
        "host": source.get("host") or event.get("reportingInstance"),
    }

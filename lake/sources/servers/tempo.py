"""Spans of traces by search and by id: https://grafana.com/docs/tempo/latest/api_docs/

A search has no pages. A response of as many traces as were requested may be incomplete, so its window is halved until
it has fewer. A trace that a search names and that no longer exists is counted among the faults of the pull.
"""

import base64
import math
from collections.abc import Iterator, Mapping
from typing import Any

from errors import SourceError
from lake.sources.query import SECOND, Row, WindowQuery, canonical, from_nanoseconds, halves
from lake.sources.response_log import Parameters
from lake.windows import Window

SEARCH, TRACE = "/api/search", "/api/traces/"
TRACES_MAX = 1_000
"""Of one search."""


def span_rows(request: WindowQuery) -> Iterator[Row]:
    """Every span of every trace that the query returns in the window."""
    for trace_id in _trace_ids(request, request.window):
        response = request.client.get(TRACE + trace_id, headers={"Accept": "application/json"}, expected=(200, 404))
        if response.status == 404:
            request.client.faults["vanished"] += 1
            continue
        trace = request.client.decode(TRACE + trace_id, response.body)
        for part in trace.get("batches") or trace.get("resourceSpans") or trace["trace"]["resourceSpans"]:
            yield from _resource(request.cluster, part)


def _trace_ids(request: WindowQuery, window: Window) -> list[str]:
    """Each once."""
    start, end = math.floor(window.start.timestamp()), math.ceil(window.end.timestamp())
    parameters: Parameters = {"q": request.text, "start": start, "end": end, "limit": TRACES_MAX}
    traces = request.client.get_json(SEARCH, parameters).get("traces") or []
    if len(traces) < TRACES_MAX:
        return list(dict.fromkeys(trace["traceID"] for trace in traces))
    if window.end - window.start <= 2 * SECOND:
        raise SourceError(
            f"{request.client}: query {request.name!r} returns {TRACES_MAX} traces or more within two seconds "
            f"of {start}; narrow the query, so that none is lost"
        )
    return list(dict.fromkeys(name for half in halves(window) for name in _trace_ids(request, half)))


def _resource(cluster: str, part: Mapping[str, Any]) -> Iterator[Row]:
    service = _attributes(part.get("resource", {}).get("attributes", ())).get("service.name")
    for scope in part.get("scopeSpans") or part.get("instrumentationLibrarySpans") or ():
        for span in scope["spans"]:
            yield _span(cluster, service, span)


def _span(cluster: str, service: object, span: Mapping[str, Any]) -> Row:
    begin, end = int(span["startTimeUnixNano"]), int(span["endTimeUnixNano"])
    parent = span.get("parentSpanId")
    return {
        "trace_id": _hexadecimal(span["traceId"], 16),
        "span_id": _hexadecimal(span["spanId"], 8),
        "parent_id": _hexadecimal(parent, 8) if parent else None,
        "timestamp": from_nanoseconds(begin),
        "duration_ns": end - begin,
        "cluster": cluster,
        "service": str(service) if service is not None else None,
        "name": span.get("name"),
        "kind": span.get("kind"),
        "status": span.get("status", {}).get("code"),
        "attributes": canonical(_attributes(span.get("attributes", ()))),
    }


def _hexadecimal(name: str, size: int) -> str:
    """An id of ``size`` bytes in hexadecimal; Tempo writes it in base64, as protobuf's JSON does."""
    return name.lower() if len(name) == 2 * size else base64.b64decode(name, validate=True).hex()


def _attributes(pairs: Any) -> dict[str, object]:
    """OTLP's list of keys and typed values, as a mapping."""
    return {pair["key"]: next(iter(pair.get("value", {}).values()), None) for pair in pairs}

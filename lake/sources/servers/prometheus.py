"""Metrics by ``query_range``: https://prometheus.io/docs/prometheus/latest/querying/api/#range-queries

Points are at whole multiples of the step, so that two pulls of overlapping windows request the same points and get the
same rows. A window is requested in pieces of at most 1,000 points, and in smaller ones where a response is too large.

Values are not changed. A counter that was reset falls, and no rate is computed here. A series that ended has a
staleness marker in Prometheus; after it there is no point, hence no row: nothing is carried forward. NaN and the
infinities, which JSON cannot hold, have a column of their own. A classic histogram is its ``_bucket``, ``_sum`` and
``_count`` series; a native one is one row with its buckets.

Linkerd's metrics come out of Prometheus as well; docs/sources.md has a query for them.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence

from lake.sources.http_client import ResponseTooLarge
from lake.sources.query import Json, Row, WindowQuery, canonical, digest, iso

PATH = "/api/v1/query_range"
POINTS = 1_000
"""Of one series in one response; Prometheus refuses more than 11,000."""


def metric_rows(request: WindowQuery) -> Iterator[Row]:
    """Every point of every series of the query in the window, series by series."""
    step = request.query.step_s
    first = math.ceil(request.window.start.timestamp() / step)
    stop = math.ceil(request.window.end.timestamp() / step)
    for begin in range(first, stop, POINTS):
        yield from _points(request, begin, min(begin + POINTS, stop))


def _points(request: WindowQuery, begin: int, stop: int) -> Iterator[Row]:
    """The points of these steps, ``stop`` not included."""
    query = request.query
    parameters = [
        ("query", query.text),
        ("start", str(begin * query.step_s)),
        ("end", str((stop - 1) * query.step_s)),
        ("step", str(query.step_s)),
    ]
    try:
        response = request.client.get_json(PATH, parameters)
    except ResponseTooLarge:
        if stop - begin == 1:
            raise  # one instant is too large: the query has to select less
        middle = (begin + stop) // 2
        yield from _points(request, begin, middle)
        yield from _points(request, middle, stop)
        return
    if warnings := response.get("warnings"):
        request.client.faults["partial"] += len(warnings)
    for series in response["data"]["result"]:
        yield from _series(request, series)


def _series(request: WindowQuery, series: Mapping[str, object]) -> Iterator[Row]:
    labels = dict(series["metric"])  # type: ignore[call-overload]
    metric = labels.pop("__name__", request.query.name)
    text = canonical(labels)
    shared: dict[str, Json] = {
        "series": digest(request.cluster, metric, text),
        "cluster": request.cluster,
        "metric": metric,
        "labels": text,
    }
    for time, value in series.get("values", ()):  # type: ignore[attr-defined]
        yield {**shared, "timestamp": iso(time), **_number(value)}
    for time, histogram in series.get("histograms", ()):  # type: ignore[attr-defined]
        yield {**shared, "timestamp": iso(time), **_histogram(histogram)}


def _number(text: str) -> dict[str, Json]:
    """A sample's columns; text that is not a number is left to the checks."""
    value = _float(text)
    if isinstance(value, float) and not math.isfinite(value):
        return {"not_finite": text}
    return {"value": value}


def _histogram(histogram: Mapping[str, Sequence[object]]) -> dict[str, Json]:
    total = _float(str(histogram["sum"]))
    return {
        "count": _float(str(histogram["count"])),
        "sum": total if not isinstance(total, float) or math.isfinite(total) else None,
        "buckets": compact(histogram.get("buckets", ())),
    }


def compact(values: Sequence[object]) -> str:
    """A list as compact JSON."""
    return json.dumps(values, separators=(",", ":"))


def _float(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text

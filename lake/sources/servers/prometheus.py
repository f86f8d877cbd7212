"""Metrics by ``query_range``: https://prometheus.io/docs/prometheus/latest/querying/api/#range-queries

Points are at whole multiples of the step, so that two pulls of overlapping windows request the same points and get the
same rows. A window is requested in pieces of at most 1,000 points, and in smaller ones where a response is too large.

Values are not changed. A counter that was reset falls, and no rate is computed here. A series that ended has a
staleness marker in Prometheus; after it there is no point, hence no row: nothing is carried forward. NaN and the
infinities, which JSON cannot hold, have a column of their own. A classic histogram is its ``_bucket``, ``_sum`` and
``_count`` series; a native one is one row with its buckets.

Linkerd's metrics come out of Prometheus as well; docs/sources.md has a query for them.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from lake.sources.http_client import ResponseTooLarge
from lake.sources.query import Json, Row, WindowQuery, canonical, digest, iso
from lake.sources.response_log import Parameters

PATH = "/api/v1/query_range"
POINTS = 1_000
"""Of one series in one response; Prometheus refuses more than 11,000."""


def metric_rows(request: WindowQuery) -> Iterator[Row]:
    """Every point of every series of the query in the window, series by series."""
    step = request.step_s
    first = math.ceil(request.window.start.timestamp() / step)
    stop = math.ceil(request.window.end.timestamp() / step)
    for begin in range(first, stop, POINTS):
        yield from _points(request, begin, min(begin + POINTS, stop))


def _points(request: WindowQuery, begin: int, stop: int) -> Iterator[Row]:
    """The points of these steps, ``stop`` not included."""
    step = request.step_s
    query: Parameters = {"query": request.text, "start": begin * step, "end": (stop - 1) * step, "step": step}
    try:
        response = request.client.get_json(PATH, query)
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


def _series(request: WindowQuery, series: Mapping[str, Any]) -> Iterator[Row]:
    labels = dict(series["metric"])
    metric = labels.pop("__name__", request.name)
    shared: dict[str, Json] = {
        "series": digest(request.cluster, metric, canonical(labels)),
        "cluster": request.cluster,
        "metric": metric,
        "labels": canonical(labels),
    }
    for time, text in series.get("values", ()):
        value = _number(text)
        yield {**shared, "timestamp": iso(time), **({"not_finite": text} if value is None else {"value": value})}
    for time, histogram in series.get("histograms", ()):
        count, total = _number(histogram["count"]), _number(histogram["sum"])
        yield {
            **shared,
            "timestamp": iso(time),
            "count": histogram["count"] if count is None else count,  # the checks reject a count that is not finite
            "sum": total,
            "buckets": canonical(histogram.get("buckets", ())),
        }


def _number(text: str) -> float | str | None:
    """A number; None where JSON cannot hold it; the text itself where it is none, for the checks."""
    try:
        value = float(text)
    except ValueError:
        return text
    return value if math.isfinite(value) else None

"""Metrics by ``query_range``: https://prometheus.io/docs/prometheus/latest/querying/api/#range-queries

Steps stand at whole multiples of the step, so that two pulls of overlapping windows ask for the same points and get the
same rows. A window is asked for in pieces of bounded points, and in smaller ones where an answer is too large.

Values come as they are. A counter that was reset falls, and no rate is made of it here. A series that ended has a
staleness marker in Prometheus; from there on it has no point, hence no row: nothing is carried forward. NaN and the
infinities, which JSON cannot hold, stand in a column of their own. A classic histogram is its ``_bucket``, ``_sum`` and
``_count`` series; a native one is one row with its buckets.

Linkerd's metrics come out of Prometheus as well; docs/sources.md has a query for them.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence

from lake.sources.http_client import AnswerTooLarge
from lake.sources.query import Fetching, Json, Row, canonical, digest, iso

PATH = "/api/v1/query_range"
POINTS = 1_000
"""Of one series in one answer; Prometheus itself refuses more than 11,000."""


def metric_rows(fetching: Fetching) -> Iterator[Row]:
    """Every point of every series of the query within the window, the series one after the other."""
    step = fetching.query.step_s
    first = math.ceil(fetching.window.start.timestamp() / step)
    stop = math.ceil(fetching.window.end.timestamp() / step)
    for begin in range(first, stop, POINTS):
        yield from _points(fetching, begin, min(begin + POINTS, stop))


def _points(fetching: Fetching, begin: int, stop: int) -> Iterator[Row]:
    """The steps of these numbers, ``stop`` not included."""
    query = fetching.query
    parameters = [
        ("query", query.text),
        ("start", str(begin * query.step_s)),
        ("end", str((stop - 1) * query.step_s)),
        ("step", str(query.step_s)),
    ]
    try:
        answer = fetching.remote.get_json(PATH, parameters)
    except AnswerTooLarge:
        if stop - begin == 1:
            raise  # one instant is too large: the query has to be narrower
        middle = (begin + stop) // 2
        yield from _points(fetching, begin, middle)
        yield from _points(fetching, middle, stop)
        return
    if warnings := answer.get("warnings"):
        fetching.remote.faults["partial"] += len(warnings)
    for series in answer["data"]["result"]:
        yield from _series(fetching, series)


def _series(fetching: Fetching, series: Mapping[str, object]) -> Iterator[Row]:
    labels = dict(series["metric"])  # type: ignore[call-overload]
    metric = labels.pop("__name__", fetching.query.name)
    text = canonical(labels)
    same: dict[str, Json] = {
        "series": digest(fetching.cluster, metric, text),
        "cluster": fetching.cluster,
        "metric": metric,
        "labels": text,
    }
    for at, value in series.get("values", ()):  # type: ignore[attr-defined]
        yield {**same, "timestamp": iso(at), **_number(value)}
    for at, histogram in series.get("histograms", ()):  # type: ignore[attr-defined]
        yield {**same, "timestamp": iso(at), **_histogram(histogram)}


def _number(text: str) -> dict[str, Json]:
    """A sample's columns; what is no number is left to the checks."""
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

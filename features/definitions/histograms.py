"""The 95th percentile of the request latency of an hour from Prometheus histograms, as PromQL's
``histogram_quantile`` computes it.

A classic histogram has one counter per bucket; requests are assumed to be uniform within a bucket. A native histogram
has its buckets in the sample; within a bucket requests are assumed to be uniform on a logarithmic scale, as in
Prometheus since 3.0, and uniform on a linear scale in a bucket that touches zero:
https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile
https://prometheus.io/docs/specs/native_histograms/#interpolation-within-a-bucket
"""

import ibis
from ibis import _

from features.definitions.promql import LONGEST_GAP_S, increases, label, named, namespace, with_whole

QUANTILE = 0.95
HISTOGRAMS = {
    "http_server_request_duration_seconds": 1000.0,  # OpenTelemetry's semantic conventions
    "http_request_duration_seconds": 1000.0,  # Prometheus' own clients
    "response_latency_ms": 1.0,  # Linkerd's proxies
    "vllm:e2e_request_latency_seconds": 1000.0,
}
"""The known histograms of request latency, with the milliseconds in their unit. Of several histograms of a namespace
the first is used, and of one name the native one: two would count the same requests twice."""
BUCKETS = tuple(f"{name}_bucket" for name in HISTOGRAMS)
METRICS = (*HISTOGRAMS, *BUCKETS)
_BY = ("cluster", "namespace", "hour", "metric")


def request_latencies(metrics: ibis.Table) -> ibis.Table:
    """``p95_ms`` and ``requests`` of each cluster, namespace and hour that has a histogram."""
    both = ibis.union(_classic(metrics), _native(metrics))
    order = ibis.window(group_by=["cluster", "namespace", "hour"], order_by=["place"])
    first = both.mutate(rank=ibis.row_number().over(order)).filter(_.rank == 0)
    return first.drop("rank", "place")


def _classic(metrics: ibis.Table) -> ibis.Table:
    points = _served(named(metrics, *BUCKETS).mutate(le=label(_.labels, "le"))).filter(_.le.notnull())
    risen = increases(points, ["cluster", "series"])
    summed = with_whole(risen.group_by(*_BY, "le").agg(rise=_.rise.sum()))
    buckets = summed.group_by(*_BY, "le").agg(rise=_.rise.sum())
    finite = buckets.filter(_.le != "+Inf").mutate(high=_.le.cast("float64"))
    endless = buckets.filter(_.le == "+Inf").select(*_BY, total=_.rise)
    up_to = ibis.window(group_by=list(_BY), order_by="high", preceding=None, following=0)
    rising = finite.mutate(seen=finite.rise.max().over(up_to))  # float arithmetic can make a bucket fall a little
    order = ibis.window(group_by=list(_BY), order_by="high")
    steps = rising.mutate(
        before=ibis.coalesce(rising.seen.lag().over(order), 0.0),
        low=ibis.coalesce(rising.high.lag().over(order), ibis.least(rising.high, 0.0)),
    ).inner_join(endless, list(_BY))
    rank = QUANTILE * _.total
    found = steps.group_by(*_BY).agg(
        inside=(_.low + (_.high - _.low) * (rank - _.before) / (_.seen - _.before).nullif(0.0)).max(
            where=(_.before < rank) & (rank <= _.seen)
        ),
        highest=_.high.max(),
        requests=_.total.max(),
    )
    return _in_ms(found.mutate(p95=ibis.coalesce(_.inside, _.highest)), preference=1)


def _native(metrics: ibis.Table) -> ibis.Table:
    """The increase of a bucket is the sum of its counts minus the counts of the points before: so a bucket that is
    missing from a point needs no row.
    """
    points = metrics.filter(metrics.metric.isin(list(HISTOGRAMS)), metrics.buckets.notnull()).mutate(
        hour=_.timestamp.truncate("h"), namespace=namespace(_.labels), at=_.timestamp.epoch_seconds()
    )
    order = ibis.window(group_by=["cluster", "series"], order_by="timestamp")
    known = _served(points).mutate(
        since=_.at - _.at.lag().over(order),
        until=_.at.lead().over(order) - _.at,
        next_hour=_.hour.lead().over(order),
        next_count=_["count"].lead().over(order),
    )
    current = known.filter(_.since <= LONGEST_GAP_S).mutate(sign=1.0)
    previous = known.filter(_.until <= LONGEST_GAP_S, _.next_count >= _["count"]).mutate(hour=_.next_hour, sign=-1.0)
    columns = (*_BY, "buckets", "sign")
    counts = ibis.union(current.select(*columns), previous.select(*columns))
    each = counts.mutate(
        bucket=counts.buckets.replace("[[", "").replace("]]", "").replace("],[", ";").split(";").unnest()
    )
    fields = each.filter(_.bucket != "", _.bucket != "[]").mutate(parts=_.bucket.replace('"', "").split(","))
    bounds = fields.mutate(
        low=fields.parts[1].cast("float64"),
        high=fields.parts[2].cast("float64"),
        rise=fields.sign * fields.parts[3].cast("float64"),
    )
    summed = with_whole(bounds.group_by(*_BY, "low", "high").agg(rise=_.rise.sum()))
    buckets = summed.group_by(*_BY, "low", "high").agg(rise=_.rise.sum()).filter(_.rise > 0)
    up_to = ibis.window(group_by=list(_BY), order_by="high", preceding=None, following=0)
    steps = buckets.mutate(
        seen=buckets.rise.sum().over(up_to), total=buckets.rise.sum().over(ibis.window(group_by=list(_BY)))
    )
    rank = QUANTILE * _.total
    share = (rank - (_.seen - _.rise)) / _.rise
    even = ibis.greatest(_.low, 0.0) + (_.high - ibis.greatest(_.low, 0.0)) * share
    log = ibis.greatest(_.low, 1e-300).ln() * (1 - share) + ibis.greatest(_.high, 1e-300).ln() * share
    found = steps.group_by(*_BY).agg(
        p95=ibis.ifelse(_.low > 0, log.exp(), even).max(where=(_.seen - _.rise < rank) & (rank <= _.seen)),
        requests=_.total.max(),
    )
    return _in_ms(found, preference=0)


def _served(points: ibis.Table) -> ibis.Table:
    """Only inbound requests: Linkerd counts each request twice, outbound and inbound."""
    return points.filter(ibis.coalesce(label(_.labels, "direction"), "inbound") == "inbound")


def _in_ms(found: ibis.Table, preference: int) -> ibis.Table:
    """The quantile in milliseconds, and the rank of its histogram in the order of preference."""
    names = found.metric.replace("_bucket", "")
    known = [(names == name, unit, 2 * n + preference) for n, (name, unit) in enumerate(HISTOGRAMS.items())]
    unit = ibis.cases(*((match, unit) for match, unit, _n in known), else_=None)
    order = ibis.cases(*((match, n) for match, _u, n in known), else_=None)
    measured = found.mutate(p95_ms=found.p95 * unit, place=order).filter(_.requests > 0)
    return measured.select("cluster", "namespace", "hour", "p95_ms", "requests", "place")

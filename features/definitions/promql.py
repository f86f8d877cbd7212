"""Parts of PromQL as Ibis expressions over ``processed.metrics``: labels, and the increase of a counter.

Points from Prometheus are at whole multiples of the step (``lake.sources.servers.prometheus``), so a step of two series
is the same instant, and the increase from one point to the next belongs to the hour of the later point. So the increase
of a day is the sum of its hours, and nothing is extrapolated as in PromQL's ``increase``. At the last point of an hour
both are equal, because its window ends on points:
https://prometheus.io/docs/prometheus/latest/querying/functions/#increase
"""

from collections.abc import Sequence

import ibis
from ibis import _

WHOLE = "*"
"""The whole cluster, in the namespace column."""
LONGEST_GAP_S = 3600
"""Longest distance of two points whose increase counts (seconds); further apart, its hour is unknown."""


def label(labels: ibis.Value, *names: str) -> ibis.Value:
    """The value of the first of these labels that is present and not empty, from canonical JSON; null if none is.

    Exact without a JSON parser, which the engines do not share: quotes within a value are escaped.
    """
    found = [labels.re_extract(f'[{{,]"{name}":"([^"]*)"', 1).nullif("") for name in names]
    return ibis.coalesce(*found) if len(found) > 1 else found[0]  # Trino has no coalesce of one


def named(metrics: ibis.Table, *names: str) -> ibis.Table:
    """The finite samples of these metrics, each with its hour and its namespace.

    The scrape may rename a namespace label that the target itself sets (kube-state-metrics, cAdvisor) to
    ``exported_namespace``; a sample without such a label has an empty namespace.
    """
    found = metrics.filter(metrics.metric.isin(names), metrics.value.notnull())
    return found.mutate(hour=_.timestamp.truncate("h"), namespace=namespace(_.labels))


def namespace(labels: ibis.Value) -> ibis.Value:
    """The namespace that a series describes; empty if it has no such label."""
    return ibis.coalesce(label(labels, "exported_namespace", "namespace"), "")


def with_whole(rows: ibis.Table) -> ibis.Table:
    """The rows of each namespace, and a copy of all rows for the whole cluster."""
    return ibis.union(rows.filter(rows.namespace != ""), rows.mutate(namespace=ibis.literal(WHOLE)))


def by_container(metrics: ibis.Table, *names: str) -> ibis.Table:
    """The points of each container, one per step.

    Of several series of one container the largest value is used: two replicas of an exporter report the same, and a
    recreated container has an ending and a starting series. Sums over a pod and the pod's sandbox are left out.
    """
    points = named(metrics, *names).mutate(
        pod=label(_.labels, "exported_pod", "pod"), container=label(_.labels, "exported_container", "container")
    )
    return (
        points.filter(_.pod.notnull(), _.container.notnull(), _.container != "POD")
        .group_by("cluster", "namespace", "pod", "container", "hour", "timestamp")
        .agg(value=_.value.max())
    )


def increases(points: ibis.Table, by: Sequence[str]) -> ibis.Table:
    """The increase of each counter up to each of its points (``rise``), and its duration (``seconds``).

    A counter that fell was reset, so its increase is its value. The first point of a counter has no increase.
    """
    order = ibis.window(group_by=list(by), order_by="timestamp")
    known = points.mutate(
        was=points.value.lag().over(order),
        seconds=points.timestamp.epoch_seconds() - points.timestamp.lag().over(order).epoch_seconds(),
    )
    steps = known.filter(_.was.notnull(), _.seconds <= LONGEST_GAP_S)
    return steps.mutate(rise=ibis.ifelse(_.value < _.was, _.value, _.value - _.was)).drop("was")

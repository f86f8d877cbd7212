"""What PromQL is made of, as Ibis expressions over ``processed.metrics``: labels, and by how much a counter rose.

Prometheus' answers land with their points at whole multiples of the step (``lake.sources.prometheus``), so the same
step of two series is the same instant, and what a counter rose from one point to the next belongs to the hour of the
later point. Hours then add up: what rose in a day is the sum of its hours, and nothing is extrapolated, as PromQL's
``increase`` does. At the last point of an hour both say the same, because its window ends on points:
https://prometheus.io/docs/prometheus/latest/querying/functions/#increase
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ibis

LONGEST_GAP_S = 3600
"""Two points of a counter that are further apart say nothing about when it rose; neither hour counts it."""


def label(labels: "ibis.Value", *names: str) -> "ibis.Value":
    """The value of the first of these labels that is there and not empty, out of canonical JSON; null where none is.

    Exact without a JSON parser, which the engines do not share: within a value each quote has a backslash before it.
    """
    import ibis

    found = [labels.re_extract(f'[{{,]"{name}":"([^"]*)"', 1).nullif("") for name in names]
    return ibis.coalesce(*found) if len(found) > 1 else found[0]  # Trino has no coalesce of one


def named(metrics: "ibis.Table", *names: str) -> "ibis.Table":
    """The finite samples of these metrics, each with its hour and its namespace.

    A target that says itself which namespace it speaks of (kube-state-metrics, cAdvisor) may find its label renamed to
    ``exported_namespace`` by the scrape; without any label a sample belongs to no namespace, and has an empty one.
    """
    from ibis import _

    found = metrics.filter(metrics.metric.isin(names), metrics.value.notnull())
    return found.mutate(hour=_.timestamp.truncate("h"), namespace=namespace(_.labels))


def namespace(labels: "ibis.Value") -> "ibis.Value":
    """Which namespace a series speaks of; empty where it does not say."""
    import ibis

    return ibis.coalesce(label(labels, "exported_namespace", "namespace"), "")


def by_container(metrics: "ibis.Table", *names: str) -> "ibis.Table":
    """The points of each container, one a step.

    Of several series of one container the largest counts: two replicas of an exporter tell the same, and a container
    that was made anew has a series that begins and one that is about to end. Sums over a pod, and the sandbox that
    holds it, are no container.
    """
    from ibis import _

    points = named(metrics, *names).mutate(
        pod=label(_.labels, "exported_pod", "pod"), container=label(_.labels, "exported_container", "container")
    )
    return (
        points.filter(_.pod.notnull(), _.container.notnull(), _.container != "POD")
        .group_by("cluster", "namespace", "pod", "container", "hour", "timestamp")
        .agg(value=_.value.max())
    )


def increases(points: "ibis.Table", by: Sequence[str]) -> "ibis.Table":
    """How much each counter rose up to each of its points (``rise``), and over how long (``seconds``).

    A counter that fell was reset, and has risen by all that it shows. The first point of a counter has no rise.
    """
    import ibis
    from ibis import _

    order = ibis.window(group_by=list(by), order_by="timestamp")
    known = points.mutate(
        was=points.value.lag().over(order),
        seconds=points.timestamp.epoch_seconds() - points.timestamp.lag().over(order).epoch_seconds(),
    )
    steps = known.filter(_.was.notnull(), _.seconds <= LONGEST_GAP_S)
    return steps.mutate(rise=ibis.ifelse(_.value < _.was, _.value, _.value - _.was)).drop("was")

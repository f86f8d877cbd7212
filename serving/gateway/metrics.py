"""Prometheus metrics of the gateway, by version: vLLM's own metrics name only the base model."""

from collections.abc import Callable
from functools import partial
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

LATENCY_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
FIRST_TOKEN_S = (0.01, 0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.5, 3.0, 10.0)


class GatewayMetrics:
    """All metrics of one gateway, ``fuelline_gateway_*``, in their own registry."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        options: dict[str, Any] = {"namespace": "fuelline", "subsystem": "gateway", "registry": self.registry}
        counter: Callable[..., Counter] = partial(Counter, **options)
        gauge: Callable[..., Gauge] = partial(Gauge, **options)
        histogram: Callable[..., Histogram] = partial(Histogram, **options)
        version = "model_version"
        self.requests = counter("requests", "Requests sent to a version", ("agent", version, "arm", "outcome"))
        self.latency = histogram("latency_seconds", "From the request to the last token", (version,), buckets=LATENCY_S)
        to_first, text = "time_to_first_token_seconds", "From the request to a stream's first token"
        self.first_token = histogram(to_first, text, (version,), buckets=FIRST_TOKEN_S)
        self.tokens = counter("tokens", "Tokens as counted by vLLM", (version, "kind"))
        self.in_flight = gauge("in_flight", "Requests in progress")
        self.refused = counter("refused", "Requests refused before any version was called", ("code",))
        self.other_version = counter(
            "other_version", "Answers of another version than the one called", ("asked", "answered")
        )
        self.unreachable = counter("unreachable", "Connections that a replica did not accept", ("replica",))
        self.feature_misses = counter("feature_misses", "Requests without a user's features", ("reason",))
        self.route_reads = counter("route_reads", "Reads of keys and routes", ("outcome",))
        self.route_changes = counter("route_changes", "Reads that found changed routes")
        self.share = gauge("candidate_share", "Share of the users that a candidate answers (0..1)", ("model",))
        self.spool_rows = gauge("spool_rows", "Rows not uploaded to the store yet")
        self.spool_age = gauge("spool_oldest_seconds", "Age of the oldest row at the last upload")
        self.drain_failures = counter("drain_failures", "Failed uploads of the spool")
        self.rows_lost = counter("rows_lost", "Rows that could not be written to the spool")
        self.feedback = counter("feedback", "Feedback ratings recorded", ("rating",))

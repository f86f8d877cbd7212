"""What the gateway measures: per version, because vLLM's own metrics know only the base model."""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

LATENCY_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
FIRST_TOKEN_S = (0.01, 0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.5, 3.0, 10.0)

Series = TypeVar("Series", Counter, Gauge, Histogram)


class Metrics:
    """All series of one gateway, ``fuelline_gateway_*``, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        counter, gauge = self._maker(Counter), self._maker(Gauge)
        seconds = self._maker(Histogram)
        sent = ("agent", "model_version", "arm", "outcome")
        self.requests = counter("requests", "Requests that were sent to a version", sent)
        self.latency = seconds(
            "latency_seconds", "From the request to the last token", ("model_version",), buckets=LATENCY_S
        )
        self.first_token = seconds(
            "time_to_first_token_seconds", "To a stream's first token", ("model_version",), buckets=FIRST_TOKEN_S
        )
        self.tokens = counter("tokens", "Tokens, as vLLM counts them", ("model_version", "kind"))
        self.in_flight = gauge("in_flight", "Requests under way")
        self.refused = counter("refused", "Requests that were sent to no version", ("code",))
        self.other_version = counter("other_version", "Answers of a version that was not asked", ("asked", "answered"))
        self.unreachable = counter("unreachable", "Connections that a replica did not take", ("replica",))
        self.feature_misses = counter("feature_misses", "Requests without a user's features", ("reason",))
        self.route_reads = counter("route_reads", "Looks at the ledger", ("outcome",))
        self.route_changes = counter("route_changes", "Looks at the ledger that found other routes")
        self.share = gauge("candidate_share", "Share of the users whom a candidate answers (0..1)", ("model",))
        self.spool_rows = gauge("spool_rows", "Rows that are not in the store yet")
        self.spool_age = gauge("spool_oldest_seconds", "Age of the oldest of them, as of the last drain")
        self.drain_failures = counter("drain_failures", "Times the spool could not be brought to the store")
        self.rows_lost = counter("rows_lost", "Rows that the spool did not take")
        self.feedback = counter("feedback", "Thumbs taken", ("rating",))

    def _maker(self, kind: type[Series]) -> Callable[..., Series]:
        return partial(kind, namespace="fuelline", subsystem="gateway", registry=self.registry)

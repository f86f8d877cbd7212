"""Streaming features in Feast: snapshots of the windows, pushed every few seconds through push sources.

Feast stores one value per entity and has no windows: a value stays until a newer one arrives, so an inactive agent
would keep its last rate for ever. So the counts are in our own counters, and ``read_streaming`` returns current values.
The snapshots are for clients that read everything through Feast: each has the time at which it was valid, and counts as
missing once it is older than the view's TTL.
"""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from features.definitions.views import AGENT_FEATURES, CREATED_TIMESTAMP, EVENT_TIMESTAMP, USER_FEATURES, View
from features.online.feast_repo import entity_of, iceberg_table
from features.streaming.windows import StreamingFeatures, StreamingStore, read_streaming

if TYPE_CHECKING:
    from feast import FeatureStore, FeatureView

TTL = timedelta(minutes=1)
USERS = "user_streaming"
AGENTS = "agent_streaming"
FEATURES: dict[str, tuple[View, dict[str, type]]] = {
    USERS: (USER_FEATURES, {"queries_last_1h": int, "queries_last_24h": int, "error_rate_last_1h": float}),
    AGENTS: (
        AGENT_FEATURES,
        {
            "agent_requests_per_s": float,
            "agent_latency_p95_1m_ms": float,
            "agent_error_rate_5m": float,
            "agent_requests_last_1h": int,
            "agent_error_rate_last_1h": float,
            "agent_tokens_last_1h": int,
        },
    ),
}
"""For each snapshot view the batch view of the same entity, and its fields of ``StreamingFeatures``."""


def register_streaming(store: "FeatureStore") -> None:
    """Register the push sources and their views, unless they are registered."""
    views = [streaming_view(name) for name in FEATURES]
    known = {view.name: view for view in store.list_feature_views()}
    if any(known.get(view.name) != view for view in views):
        store.apply(views)
        store.refresh_registry()


def streaming_view(name: str) -> "FeatureView":
    """One snapshot view with the push source ``<name>_push``."""
    from feast import FeatureView, Field, PushSource
    from feast.types import Float64, Int64, String

    batch, fields = FEATURES[name]
    types = {batch.entity: String, **{field: {int: Int64, float: Float64}[kind] for field, kind in fields.items()}}
    return FeatureView(
        name=name,
        entities=[entity_of(batch)],
        ttl=TTL,
        schema=[Field(name=field, dtype=kind) for field, kind in types.items()],
        # Feast requires a table with the history of a push source; here it is that of the batch view.
        source=PushSource(name=f"{name}_push", batch_source=iceberg_table(batch)),
        online=True,
        description=f"Snapshots of the streaming features of {batch.entity}, as of their event timestamp.",
        owner="ml-platform",
    )


def push_snapshots(
    store: "FeatureStore", stream: StreamingStore, users: Sequence[str], agents: Sequence[str], as_of: datetime
) -> None:
    """Push the features of these users and agents at ``as_of`` (UTC). Raises ``PeerError``."""
    snapshots = {
        USERS: {user: read_streaming(stream, user, "", as_of) for user in users},
        AGENTS: {agent: read_streaming(stream, "", agent, as_of) for agent in agents},
    }
    for name, values in snapshots.items():
        if values:
            _push(store, name, values, as_of)


def _push(store: "FeatureStore", name: str, values: dict[str, StreamingFeatures], as_of: datetime) -> None:
    import pandas as pd

    batch, fields = FEATURES[name]
    rows = [
        {batch.entity: entity, EVENT_TIMESTAMP: as_of, CREATED_TIMESTAMP: as_of, **asdict(value)}
        for entity, value in values.items()
    ]
    columns = [batch.entity, EVENT_TIMESTAMP, CREATED_TIMESTAMP, *fields]
    store.push(f"{name}_push", pd.DataFrame(rows, columns=columns).astype(fields))

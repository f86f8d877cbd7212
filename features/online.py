"""Online features: pushed from pinned snapshots into Feast's online store, read for one request by one class.

The gateway and the tests read through the same code. Feast serves values of any age, so the age is checked here: older
than the view's TTL is missing, exactly as in the training join.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from features.engine import connect
from features.repo import open_feature_store
from features.views import (
    AGENT_FEATURES,
    CREATED_TIMESTAMP,
    EVENT_TIMESTAMP,
    INFRASTRUCTURE_FEATURES,
    USER_FEATURES,
    VIEWS,
    View,
    place_of,
)
from lake.lake import Lake
from lake.versions import TableVersion

if TYPE_CHECKING:
    import pyarrow as pa
    from feast import FeatureStore

log = logging.getLogger("fuelline.features")


@dataclass(frozen=True, kw_only=True, slots=True)
class OnlineFeatures:
    """What is known of a user, an agent and the cluster it runs on at one instant; None where a value is missing or has
    outlived its TTL.

    Names, units and definitions are those of ``lake.contracts.joined_features``.
    """

    user_event_timestamp: datetime | None = None
    total_queries: int | None = None
    queries_last_7d: int | None = None
    queries_last_24h: int | None = None
    avg_query_length: float | None = None
    most_used_agent: str | None = None
    error_rate: float | None = None
    avg_latency_ms: float | None = None
    agent_event_timestamp: datetime | None = None
    agent_requests_per_hour: int | None = None
    agent_latency_p50_ms: float | None = None
    agent_latency_p95_ms: float | None = None
    agent_error_rate: float | None = None
    agent_token_usage_rate: float | None = None
    agent_uptime_percentage: float | None = None
    infrastructure_event_timestamp: datetime | None = None
    infrastructure_error_log_rate: float | None = None
    infrastructure_restarts: int | None = None
    infrastructure_cpu_pressure: float | None = None
    infrastructure_memory_pressure: float | None = None
    infrastructure_latency_p95_ms: float | None = None
    infrastructure_requests_per_hour: float | None = None
    infrastructure_crash_loops: int | None = None
    infrastructure_warning_events: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Materialization:
    """What one materialization pushed."""

    as_of: datetime
    users: int
    """Users whose values are in the online store as of then."""
    agents: int
    namespaces: int = 0
    """Of all clusters, each whole cluster counting as one."""


def materialize(
    lake: Lake,
    users: TableVersion,
    agents: TableVersion,
    as_of: datetime,
    store: "FeatureStore | None" = None,
    views: tuple[View, ...] = VIEWS,
    infrastructure: TableVersion | None = None,
) -> Materialization:
    """Push the newest value per entity that was available at ``as_of`` and has not outlived its TTL.

    Pushing the same again changes nothing. Run it with a later ``as_of`` each time: Redis keeps the newer of two
    values, SQLite the last written. Of a view that is not among ``views``, or that has no version, nothing is pushed.
    """
    opened = store or open_feature_store(lake.settings)
    pushed = {view.name: 0 for view in VIEWS}
    versions = {USER_FEATURES.name: users, AGENT_FEATURES.name: agents, INFRASTRUCTURE_FEATURES.name: infrastructure}
    for view in views:
        version = versions[view.name]
        if version is None:
            continue
        rows = newest_rows(lake, view, version, as_of)
        pushed[view.name] = rows.num_rows
        if rows.num_rows:
            opened.write_to_online_store(view.name, df=rows.to_pandas())
        log.info("%s: %d entities online as of %s", view.name, rows.num_rows, as_of.isoformat())
    return Materialization(
        as_of=as_of,
        users=pushed[USER_FEATURES.name],
        agents=pushed[AGENT_FEATURES.name],
        namespaces=pushed[INFRASTRUCTURE_FEATURES.name],
    )


def newest_rows(lake: Lake, view: View, version: TableVersion, as_of: datetime) -> "pa.Table":
    """The newest row per entity among those available at ``as_of`` and within the TTL."""
    where = f"{EVENT_TIMESTAMP} >= '{(as_of - view.ttl).isoformat()}' and {CREATED_TIMESTAMP} <= '{as_of.isoformat()}'"
    connection = connect()
    connection.register("usable", lake.tables.read(version, where=where))
    latest = f"PARTITION BY {view.entity} ORDER BY {EVENT_TIMESTAMP} DESC, {CREATED_TIMESTAMP} DESC"
    return connection.sql(f"FROM usable QUALIFY row_number() OVER ({latest}) = 1").to_arrow_table()


class OnlineReader:
    """Reads what is known for one request, straight from Feast's online store.

    Its keys and its encoding are Feast's own; what is left out is the planning that ``get_online_features`` does anew
    for every request, which takes several times as long as the read.
    """

    def __init__(self, store: "FeatureStore") -> None:
        from feast.infra.online_stores.helpers import get_online_store_from_config

        self._config = store.config
        self._online = get_online_store_from_config(store.config.online_store)
        self._tables = {view.name: store.get_feature_view(view.name) for view in VIEWS}

    @property
    def is_async(self) -> bool:
        """Whether ``read_async`` is there."""
        return self._online.async_supported.read

    def read(self, user_id: str, agent_name: str, as_of: datetime, cluster: str = "") -> OnlineFeatures:
        """All views' values for one request at ``as_of`` (UTC).

        A value is given where it was available at ``as_of`` by schedule and is within its TTL; otherwise it is None.
        Where no cluster is named, nothing is known of one.
        """
        found = [self._online.online_read(*asked) for asked in self._asked(user_id, agent_name, cluster)]
        return _usable([rows[0] for rows in found], as_of)

    async def read_async(self, user_id: str, agent_name: str, as_of: datetime, cluster: str = "") -> OnlineFeatures:
        """The same without a thread, where the store can (Redis): of all views in one round trip."""
        online = self._online
        client = await online._get_client_async(self._config.online_store)
        asked = []
        async with client.pipeline(transaction=False) as pipeline:
            for config, table, keys, features in self._asked(user_id, agent_name, cluster):
                names, fields = online._generate_hset_keys_for_features(table, features)
                pipeline.hmget(online._generate_redis_keys_for_entities(config, keys)[0], fields)
                asked.append((table.name, names))
            answers = await pipeline.execute()
        found = [
            online._get_features_for_entity(values, name, names)
            for values, (name, names) in zip(answers, asked, strict=True)
        ]
        return _usable(found, as_of)

    async def close(self) -> None:
        """Give the connections of ``read_async`` back, which Feast leaves open."""
        if self.is_async:
            client = await self._online._get_client_async(self._config.online_store)
            await client.aclose()

    def _asked(self, user_id: str, agent_name: str, cluster: str) -> "Iterator[tuple[Any, ...]]":
        """What Feast's store is asked, by view."""
        from feast.protos.feast.types.EntityKey_pb2 import EntityKey
        from feast.protos.feast.types.Value_pb2 import Value

        names = {
            USER_FEATURES.entity: user_id,
            AGENT_FEATURES.entity: agent_name,
            INFRASTRUCTURE_FEATURES.entity: place_of(cluster),
        }
        for view in VIEWS:
            key = EntityKey(join_keys=[view.entity], entity_values=[Value(string_val=names[view.entity])])
            yield self._config, self._tables[view.name], [key], list(view.features)


def _usable(found: "list[tuple[datetime | None, dict[str, Any] | None]]", as_of: datetime) -> OnlineFeatures:
    """What of each view's values was available at ``as_of`` and is not too old."""
    values: dict[str, object] = {}
    for view, (event, features) in zip(VIEWS, found, strict=True):
        if event is None or features is None or not event + view.delay <= as_of <= event + view.ttl:
            continue
        values[view.time_column] = event
        for name in view.features:
            kind = features[name].WhichOneof("val") if name in features else None
            values[view.prefix + name] = getattr(features[name], kind) if kind else None
    return OnlineFeatures(**values)  # type: ignore[arg-type]

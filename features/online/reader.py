"""Online features: pushed from pinned snapshots into Feast's online store, read for one request by one class.

The gateway and the tests read through the same code. Feast serves values of any age, so the age is checked here: older
than the view's TTL is missing, exactly as in the training join.
"""

import logging
import time
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from features.definitions.views import (
    AGENT_FEATURES,
    CREATED_TIMESTAMP,
    EVENT_TIMESTAMP,
    INFRASTRUCTURE_FEATURES,
    USER_FEATURES,
    VIEWS,
    View,
    namespace_key,
)
from features.online.feast_repo import open_feature_store
from features.online.redis_pool import Hash, Hashes
from lake.lake import Lake
from lake.tables.engine import connect
from lake.tables.versions import TableVersion

if TYPE_CHECKING:
    import pyarrow as pa
    from feast import FeatureStore
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey

log = logging.getLogger("fuelline.features")

HELD_S = 1.0
"""How long what was read of an agent or of a cluster serves other requests: it changes once an hour."""


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


Found = tuple[datetime | None, dict[str, Any] | None]
"""What Feast's store holds of one view for one entity: the time and the values."""


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
        self._held: dict[tuple[str, str], tuple[float, Found]] = {}
        self._hashes: Hashes | None = None
        if self.is_async:  # the names, hashed by Feast, are the same for every request
            self._fields = {
                view.name: self._online._generate_hset_keys_for_features(self._tables[view.name], list(view.features))
                for view in VIEWS
            }

    @property
    def is_async(self) -> bool:
        """Whether ``read_async`` is there."""
        return self._online.async_supported.read

    def read(self, user_id: str, agent_name: str, as_of: datetime, cluster: str = "") -> OnlineFeatures:
        """All views' values for one request at ``as_of`` (UTC).

        A value is given where it was available at ``as_of`` by schedule and is within its TTL; otherwise it is None.
        Where no cluster is named, nothing is known of one.
        """
        found = {}
        for view, name in _entities(user_id, agent_name, cluster):
            table, key = self._tables[view.name], _entity_key(view.entity, name)
            [found[view.name]] = self._online.online_read(self._config, table, [key], list(view.features))
        return _usable(found, as_of)

    async def read_async(self, user_id: str, agent_name: str, as_of: datetime, cluster: str = "") -> OnlineFeatures:
        """The same without a thread, where the store can (Redis): in one round trip, and what is known of an agent or
        of a cluster once in ``HELD_S`` for all requests.
        """
        online, now = self._online, time.monotonic()
        if self._hashes is None:
            self._hashes = Hashes(await online._get_client_async(self._config.online_store))
        found: dict[str, Found] = {}
        missing: list[tuple[View, str, Hash]] = []
        for view, name in _entities(user_id, agent_name, cluster):
            until, held = self._held.get((view.name, name), (0.0, None))
            if held and now < until:
                found[view.name] = held
            else:
                [key] = online._generate_redis_keys_for_entities(self._config, [_entity_key(view.entity, name)])
                missing.append((view, name, (key, self._fields[view.name][1])))
        answers = await self._hashes.read([asked for _, _, asked in missing])
        for (view, name, _), values in zip(missing, answers, strict=True):
            found[view.name] = online._get_features_for_entity(values, view.name, self._fields[view.name][0])
            if view is not USER_FEATURES:
                self._held[view.name, name] = now + HELD_S, found[view.name]
        return _usable(found, as_of)

    async def close(self) -> None:
        """Give the connections of ``read_async`` back, which Feast leaves open."""
        if self._hashes:
            await self._hashes.close()


def _entities(user_id: str, agent_name: str, cluster: str) -> tuple[tuple[View, str], ...]:
    """Whom a request asks about, by view."""
    return (USER_FEATURES, user_id), (AGENT_FEATURES, agent_name), (INFRASTRUCTURE_FEATURES, namespace_key(cluster))


def _entity_key(entity: str, name: str) -> "EntityKey":
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey
    from feast.protos.feast.types.Value_pb2 import Value

    return EntityKey(join_keys=[entity], entity_values=[Value(string_val=name)])


def _usable(found: "dict[str, Found]", as_of: datetime) -> OnlineFeatures:
    """What of each view's values was available at ``as_of`` and is not too old."""
    values: dict[str, object] = {}
    for view in VIEWS:
        event, features = found[view.name]
        if event is None or features is None or not event + view.delay <= as_of <= event + view.ttl:
            continue
        values[view.time_column] = event
        for name in view.features:
            kind = features[name].WhichOneof("val") if name in features else None
            values[view.prefix + name] = getattr(features[name], kind) if kind else None
    return OnlineFeatures(**values)  # type: ignore[arg-type]

"""Online features: written from pinned snapshots to Feast's online store, and read for one request.

The gateway and the tests read through the same code. Feast returns values of any age, so the age is checked here: a
value older than the view's TTL is missing, as in the training join.
"""

import logging
import time
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

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
from features.online.feast_redis import FeastRedis, StoredValues
from features.online.feast_repo import open_feature_store
from features.online.redis_pool import HashFields, HashReader
from lake.lake import Lake
from lake.tables.engine import query
from lake.tables.versions import TableVersion

if TYPE_CHECKING:
    import pyarrow as pa
    from feast import FeatureStore
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey

log = logging.getLogger("fuelline.features")

CACHE_S = 1.0
"""How long the features of an agent or a cluster are cached for other requests (seconds); they change once an hour."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OnlineFeatures:
    """The features of a user, an agent and its cluster at one time, as ``lake.contracts.joined_features`` defines them;
    None where a value is missing or older than its TTL.
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
    """The result of one materialization."""

    as_of: datetime
    users: int
    """Users with values in the online store as of then."""
    agents: int
    namespaces: int = 0
    """Namespaces of all clusters; each whole cluster counts as one."""


def materialize(
    lake: Lake,
    users: TableVersion,
    agents: TableVersion,
    as_of: datetime,
    store: "FeatureStore | None" = None,
    views: tuple[View, ...] = VIEWS,
    infrastructure: TableVersion | None = None,
) -> Materialization:
    """Write the newest value of each entity that was available at ``as_of`` and is not older than its TTL.

    Writing the same again changes nothing. Call it with increasing ``as_of``: of two values Redis keeps the newer one,
    SQLite the last written one. Views that are not in ``views``, or have no version, are left out.
    """
    opened = store or open_feature_store(lake.settings)
    written = dict.fromkeys(VIEWS, 0)
    for view, version in zip(VIEWS, (users, agents, infrastructure), strict=True):
        if version is None or view not in views:
            continue
        rows = _newest_rows(lake, view, version, as_of)
        written[view] = rows.num_rows
        if rows.num_rows:
            opened.write_to_online_store(view.name, df=rows.to_pandas())
        log.info("%s: %d entities online as of %s", view.name, rows.num_rows, as_of.isoformat())
    return Materialization(
        as_of=as_of,
        users=written[USER_FEATURES],
        agents=written[AGENT_FEATURES],
        namespaces=written[INFRASTRUCTURE_FEATURES],
    )


def _newest_rows(lake: Lake, view: View, version: TableVersion, as_of: datetime) -> "pa.Table":
    """The newest row per entity among those available at ``as_of`` and within the TTL."""
    where = f"{EVENT_TIMESTAMP} >= '{(as_of - view.ttl).isoformat()}' and {CREATED_TIMESTAMP} <= '{as_of.isoformat()}'"
    latest = f"PARTITION BY {view.entity} ORDER BY {EVENT_TIMESTAMP} DESC, {CREATED_TIMESTAMP} DESC"
    usable = lake.tables.read(version, where=where)
    return query(f"FROM usable QUALIFY row_number() OVER ({latest}) = 1", usable=usable)


class OnlineReader:
    """Reads the features of one request directly from Feast's online store.

    Keys and encoding are Feast's own. It leaves out the planning that ``get_online_features`` repeats for every
    request, which takes several times as long as the read.
    """

    def __init__(self, store: "FeatureStore") -> None:
        from feast.infra.online_stores.helpers import get_online_store_from_config

        self._config = store.config
        self._online = get_online_store_from_config(store.config.online_store)
        self._tables = {view.name: store.get_feature_view(view.name) for view in VIEWS}
        self._cache: dict[tuple[str, str], tuple[float, StoredValues]] = {}
        self._hashes: HashReader | None = None
        self._redis = FeastRedis(store.config, self._online)
        if self.is_async:  # the fields are the same for every request
            self._fields = {view.name: self._redis.fields(self._tables[view.name], view.features) for view in VIEWS}

    @property
    def is_async(self) -> bool:
        """Whether ``read_async`` is supported."""
        return self._online.async_supported.read

    def read(self, user_id: str, agent_name: str, as_of: datetime, cluster: str = "") -> OnlineFeatures:
        """The values of all views for one request at ``as_of`` (UTC): None unless available by then according to the
        schedule, and within the TTL. Without a cluster the infrastructure features are None.
        """
        found = {}
        for view, name in _entities(user_id, agent_name, cluster):
            table, key = self._tables[view.name], _entity_key(view.entity, name)
            [found[view.name]] = self._online.online_read(self._config, table, [key], list(view.features))
        return _usable(found, as_of)

    async def read_async(self, user_id: str, agent_name: str, as_of: datetime, cluster: str = "") -> OnlineFeatures:
        """The same on the event loop, if the store supports it (Redis): in one round trip. The features of an agent and
        of a cluster are read once in ``CACHE_S`` for all requests.
        """
        now = time.monotonic()
        if self._hashes is None:
            self._hashes = HashReader(await self._redis.client())
        found: dict[str, StoredValues] = {}
        missing: list[tuple[View, str, HashFields]] = []
        for view, name in _entities(user_id, agent_name, cluster):
            until, cached = self._cache.get((view.name, name), (0.0, None))
            if cached and now < until:
                found[view.name] = cached
            else:
                key = self._redis.key(_entity_key(view.entity, name))
                missing.append((view, name, (key, self._fields[view.name][1])))
        answers = await self._hashes.read([request for _, _, request in missing])
        for (view, name, _), values in zip(missing, answers, strict=True):
            found[view.name] = self._redis.decoded(values, view.name, self._fields[view.name][0])
            if view is not USER_FEATURES:
                self._cache[view.name, name] = now + CACHE_S, found[view.name]
        return _usable(found, as_of)

    async def close(self) -> None:
        """Close the connections of ``read_async``, which Feast leaves open."""
        if self._hashes:
            await self._hashes.close()


def _entities(user_id: str, agent_name: str, cluster: str) -> tuple[tuple[View, str], ...]:
    """The entity of each view in a request."""
    return (USER_FEATURES, user_id), (AGENT_FEATURES, agent_name), (INFRASTRUCTURE_FEATURES, namespace_key(cluster))


def _entity_key(entity: str, name: str) -> "EntityKey":
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey
    from feast.protos.feast.types.Value_pb2 import Value

    return EntityKey(join_keys=[entity], entity_values=[Value(string_val=name)])


def _usable(found: "dict[str, StoredValues]", as_of: datetime) -> OnlineFeatures:
    """The values that were available at ``as_of`` and are within their TTL."""
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

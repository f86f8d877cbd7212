"""The Feast repository: entities, feature views and services, all derived from the views and their contracts.

The source of each view is its Iceberg table, without address or credentials, because Feast never reads it here: it
would read the whole table, without snapshot or filter. Values are written to the online store from pinned snapshots
(``features.online.reader``) and joined offline from the same (``features.batch.asof``). The registry is beside the
Iceberg catalogue: SQLite in the lake's folder, or the catalogue's Postgres.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote, urlsplit

import pyarrow as pa

from errors import UnknownName
from features.definitions.views import CREATED_TIMESTAMP, EVENT_TIMESTAMP, SERVICES, VIEWS, View
from hints import invalid_setting
from lake.store.database import ENGINE_OPTIONS, initialize_database, sql_address
from lake.tables.catalog import stored_name
from settings import Settings

if TYPE_CHECKING:
    from feast import Entity, FeatureService, FeatureStore, FeatureView, RepoConfig
    from feast.data_source import DataSource

LONGEST_TTL = max(view.ttl for view in VIEWS)


def open_feature_store(settings: Settings, answer_s: float | None = None) -> "FeatureStore":
    """The lake's Feast store with registered definitions. The first call in a process takes seconds: keep the store.

    Definitions that are already registered are not written again. With ``answer_s``, Redis has that many seconds to
    accept a connection and to answer, without retries. Raises ``SettingsError`` if the registry's database does not
    exist or this user has no access.
    """
    return initialize_database("catalog", settings.catalog, lambda: _registered(_repo_config(settings, answer_s)))


def _registered(config: "RepoConfig") -> "FeatureStore":
    from feast import FeatureStore

    store = FeatureStore(config=config)
    views = feature_views()
    registered = {view.name: view for view in store.list_feature_views()}
    services = {service.name for service in store.list_feature_services()}
    if not services >= SERVICES.keys() or any(registered.get(view.name) != view for view in views):
        store.apply([*entities(), *views, *(feature_service(name, name, views) for name in SERVICES)])
    store.refresh_registry()  # a cached SQL registry does not see its own apply
    return store


def register_model_version(store: "FeatureStore", model_version: str, service: str) -> None:
    """Register the feature service of a model version (``agents@v3``): it is served with the features of its
    training, the views of ``service``.
    """
    store.apply([feature_service(model_version, service, store.list_feature_views())])
    store.refresh_registry()


def entities() -> "list[Entity]":
    """One entity per view: ``user_id``, ``agent_name`` and ``cluster_namespace``."""
    return [entity_of(view) for view in VIEWS]


def entity_of(view: View) -> "Entity":
    """The entity of a view: Feast's name for its join key."""
    from feast import Entity, ValueType

    return Entity(name=view.entity, join_keys=[view.entity], value_type=ValueType.STRING)


def feature_views(sources: "Mapping[str, DataSource] | None" = None) -> "list[FeatureView]":
    """The feature views, fields from the contracts; ``sources`` by view name, the Iceberg tables by default."""
    return [_feature_view(view, sources[view.name] if sources else iceberg_table(view)) for view in VIEWS]


def feature_service(name: str, service: str, views: "list[FeatureView]") -> "FeatureService":
    """A service over the views that ``service`` names in ``SERVICES``. Raises ``UnknownName``."""
    from feast import FeatureService

    if service not in SERVICES:
        raise UnknownName("feature service", service, SERVICES)
    names = {view.name for view in SERVICES[service]}
    return FeatureService(name=name, features=[view for view in views if view.name in names], tags={"service": service})


def _repo_config(settings: Settings, answer_s: float | None = None) -> "RepoConfig":
    """Feast's configuration for one lake: its project, registry and online store."""
    from feast import RepoConfig

    settings.folder.mkdir(parents=True, exist_ok=True)
    return RepoConfig(
        project=f"fuelline_{stored_name(settings).replace('-', '_')}",
        provider="local",
        registry={
            "registry_type": "sql",
            "path": sql_address(settings.catalog or f"sqlite:///{settings.folder / 'feast.db'}?timeout=60"),
            "sqlalchemy_config_kwargs": ENGINE_OPTIONS,
            "cache_ttl_seconds": 0,  # never expires: definitions change with a release, not under a running gateway
        },
        offline_store={"type": "duckdb"},
        online_store=_online_store(settings, answer_s),
        entity_key_serialization_version=3,
    )


def _online_store(settings: Settings, answer_s: float | None) -> dict[str, object]:
    if not settings.online:
        return {"type": "sqlite", "path": str(settings.folder / "online.db")}
    address = urlsplit(settings.online)
    if "," in unquote(address.password or ""):
        raise invalid_setting("online", "Feast does not support a password with a comma")
    parts = [f"{address.hostname}:{address.port or 6379}"]
    parts += [f"username={unquote(address.username)}"] if address.username else []
    parts += [f"password={unquote(address.password)}"] if address.password else []
    parts += [f"db={address.path.strip('/')}"] if address.path.strip("/") else []
    parts += ["ssl=true"] if address.scheme == "rediss" else []
    parts += [f"{name}={value}" for name, value in parse_qsl(address.query)]  # ssl_ca_certs, for example
    if answer_s is not None:
        parts += [f"socket_connect_timeout={answer_s}", f"socket_timeout={answer_s}", "retry=null"]
    # Redis deletes an entity after the longest TTL, so that no personal data stay for ever.
    return {"type": "redis", "connection_string": ",".join(parts), "key_ttl_seconds": int(LONGEST_TTL.total_seconds())}


def iceberg_table(view: View) -> "DataSource":
    """The Feast source that names a view's table."""
    from feast.infra.data_sources.contrib.iceberg_catalog.iceberg_source import IcebergSource

    namespace, table = view.contract.table.split(".")
    return IcebergSource(
        name=view.contract.table,
        catalog_type="sql",
        warehouse="",
        namespace=namespace,
        table=table,
        timestamp_field=EVENT_TIMESTAMP,
        created_timestamp_column=CREATED_TIMESTAMP,
    )


def _feature_view(view: View, source: "DataSource") -> "FeatureView":
    from feast import FeatureView, Field
    from feast.types import Float64, Int64, String

    types = {pa.string(): String, pa.int64(): Int64, pa.float64(): Float64}
    fields = [
        Field(name=column.name, dtype=types[column.type], description=column.doc, tags={"unit": column.unit})
        for column in view.columns
    ]
    return FeatureView(
        name=view.name,
        entities=[entity_of(view)],
        ttl=view.ttl,
        schema=[Field(name=view.entity, dtype=String), *fields],
        source=source,
        online=True,
        description=view.contract.doc,
        owner=view.contract.owner,
        tags={"table": view.contract.table, "contract": view.contract.version},
    )

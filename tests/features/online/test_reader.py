"""Online reads through Feast on SQLite and on a real Redis: equal to the training join at the same instant."""

import asyncio
import logging
from dataclasses import fields
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from errors import UnknownName
from features.batch.asof import join_pinned
from features.batch.compute import compute_features
from features.definitions.views import AGENT_FEATURES, USER_FEATURES, VIEWS, namespace_key
from features.online.feast_repo import open_feature_store, register_model_version
from features.online.reader import OnlineFeatures, OnlineReader, materialize
from lake.contracts.agent_interactions import AGENT_INTERACTIONS
from lake.contracts.joined_features import JoinedFeatures
from lake.contracts.telemetry import KUBERNETES_EVENTS, LOGS, METRICS
from lake.lake import Lake, open_lake
from lake.tables.versions import TableVersion
from settings import read_settings
from tests.features import clusters
from tests.features.batch.test_asof import entity_rows
from tests.features.conftest import AGENTS, FIRST_DAY, make_interactions

USERS = [f"user-{n}" for n in range(6)]


@pytest.fixture(params=["sqlite", "redis"])
def online_lake(request: pytest.FixtureRequest, tmp_path: Path) -> Lake:
    """A lake whose online store is SQLite or a real Redis; on Redis each test has a project of its own."""
    if request.param == "sqlite":
        return open_lake(read_settings(home=tmp_path, lake="test"))
    name = f"t{abs(hash(request.node.nodeid)) % 10**9}"
    return open_lake(read_settings(home=tmp_path, lake=name, online=request.getfixturevalue("redis_url")))


def computed(lake: Lake, upto: datetime) -> list[TableVersion]:
    interactions = lake.tables.append(AGENT_INTERACTIONS, make_interactions(400, days=3), key="a")
    return compute_features(lake, interactions, upto)


def append_measurements(lake: Lake) -> None:
    """Append a day of metrics, log lines and events of the cluster ``studio``."""
    lake.tables.append(METRICS, clusters.metrics(clusters.a_day_of_metrics(FIRST_DAY)), key="a")
    lake.tables.append(LOGS, clusters.logs(clusters.a_day_of_lines(FIRST_DAY)), key="a")
    lake.tables.append(KUBERNETES_EVENTS, clusters.events(clusters.a_day_of_events(FIRST_DAY)), key="a")


def entities_of_cluster(requests: list[tuple[str, str, datetime]], cluster: str) -> pa.Table:
    """Entity rows, all of one cluster."""
    rows = entity_rows(requests).drop_columns(["cluster_namespace"])
    return rows.append_column("cluster", pa.array([cluster] * rows.num_rows))


def test_online_equals_offline_at_the_same_instant(online_lake: Lake) -> None:
    append_measurements(online_lake)
    users, agents, infrastructure = computed(online_lake, FIRST_DAY + timedelta(days=10))
    store = open_feature_store(online_lake.settings)
    reader = OnlineReader(store)
    hits = nulls = clusters_found = 0
    for hours in (12.5, 25, 27, 49, 74.25, 77.5, 24 * 9, 24 * 11):
        as_of = FIRST_DAY + timedelta(hours=hours)
        materialize(online_lake, users, agents, as_of, store, infrastructure=infrastructure)
        requests = [(user, agent, as_of) for user in [*USERS, "nobody"] for agent in AGENTS]
        entities = entities_of_cluster(requests, "attic" if hours == 27 else "studio")
        for row in join_pinned(online_lake, entities, users, agents, infrastructure).to_pylist():
            online = reader.read(row["user_id"], row["agent_name"], as_of, row["cluster"])
            assert {f.name: getattr(online, f.name) for f in fields(online)} == {
                f.name: row[f.name] for f in fields(online)
            }
            hits += online.total_queries is not None
            clusters_found += online.infrastructure_restarts is not None
            nulls += online.agent_event_timestamp is not None and online.agent_latency_p50_ms is None
    assert hits > 50
    assert clusters_found == 2 * 7 * 4  # at 12:30 and at 01:00 of the next day; later values are older than the TTL
    assert nulls > 0  # an hour in which every call failed


def test_an_asynchronous_read_equals_a_synchronous_one_and_feasts_own(redis_url: str, tmp_path: Path) -> None:
    lake = open_lake(read_settings(home=tmp_path, lake="asynchronous", online=redis_url))
    as_of = FIRST_DAY + timedelta(days=3, hours=1)
    users, agents, *_ = computed(lake, as_of)
    store = open_feature_store(lake.settings)
    materialize(lake, users, agents, as_of, store)
    requests = [(user, agent) for user in [*USERS, "nobody"] for agent in AGENTS]

    async def read() -> list[OnlineFeatures]:
        reader = OnlineReader(store)
        assert reader.is_async
        try:
            return list(await asyncio.gather(*(reader.read_async(user, agent, as_of) for user, agent in requests)))
        finally:
            await reader.close()

    found = asyncio.run(read())
    assert found == [OnlineReader(store).read(user, agent, as_of) for user, agent in requests]
    assert len(set(found)) > len(AGENTS)
    references = [f"{view.name}:{name}" for view in VIEWS for name in view.features]
    for (user, agent), features in zip(requests, found, strict=True):
        row = [{"user_id": user, "agent_name": agent, "cluster_namespace": namespace_key("")}]
        feast = store.get_online_features(references, row, full_feature_names=True).to_dict()
        for view in VIEWS:
            if getattr(features, view.time_column) is None:
                continue  # missing, or too old, which Feast does not check
            for name in view.features:
                assert getattr(features, view.prefix + name) == feast[f"{view.name}__{name}"][0]


def test_a_value_older_than_its_ttl_is_missing(online_lake: Lake) -> None:
    as_of = FIRST_DAY + timedelta(days=3, hours=2)
    users, agents = computed(online_lake, as_of)
    store = open_feature_store(online_lake.settings)
    reader = OnlineReader(store)
    materialize(online_lake, users, agents, as_of, store)
    fresh = reader.read("user-0", "jamie", as_of)
    assert fresh.user_event_timestamp == FIRST_DAY + timedelta(days=3)
    assert fresh.agent_event_timestamp is not None
    last = fresh.user_event_timestamp + USER_FEATURES.ttl
    assert reader.read("user-0", "jamie", last).total_queries == fresh.total_queries
    assert reader.read("user-0", "jamie", last).agent_requests_per_hour is None
    assert reader.read("user-0", "jamie", last + timedelta(microseconds=1)) == OnlineFeatures()


def test_a_repeated_materialization_changes_nothing_and_a_later_one_writes_newer_values(online_lake: Lake) -> None:
    users, agents = computed(online_lake, FIRST_DAY + timedelta(days=3, hours=2))
    store = open_feature_store(online_lake.settings)
    reader = OnlineReader(store)

    def after(hours: float) -> OnlineFeatures:
        as_of = FIRST_DAY + timedelta(hours=hours)
        materialize(online_lake, users, agents, as_of, store)
        return reader.read("user-1", "bruno", as_of)

    first, again, later = after(50), after(50), after(74)
    assert first == again
    assert later.user_event_timestamp == FIRST_DAY + timedelta(days=3)
    assert first.user_event_timestamp == FIRST_DAY + timedelta(days=2)


def test_a_value_from_after_the_requested_time_is_missing(online_lake: Lake) -> None:
    as_of = FIRST_DAY + timedelta(days=3, hours=2)
    users, agents = computed(online_lake, as_of)
    store = open_feature_store(online_lake.settings)
    reader = OnlineReader(store)
    materialize(online_lake, users, agents, as_of, store)
    assert reader.read("user-0", "jamie", as_of - timedelta(days=2)) == OnlineFeatures()


def test_another_process_finds_the_definitions_and_values(online_lake: Lake) -> None:
    as_of = FIRST_DAY + timedelta(days=3, hours=2)
    users, agents = computed(online_lake, as_of)
    materialize(online_lake, users, agents, as_of)
    first, second = (
        OnlineReader(open_feature_store(online_lake.settings)).read("user-2", "bruno", as_of) for _ in range(2)
    )
    assert first == second != OnlineFeatures()


def test_no_user_id_is_logged(online_lake: Lake, caplog: pytest.LogCaptureFixture) -> None:
    as_of = FIRST_DAY + timedelta(days=3, hours=2)
    with caplog.at_level(logging.DEBUG, "fuelline"):
        users, agents = computed(online_lake, as_of)
        materialize(online_lake, users, agents, as_of)
    assert caplog.records
    assert not any(user in caplog.text for user in USERS)


def test_feasts_definitions_come_from_the_contracts(lake: Lake) -> None:
    store = open_feature_store(lake.settings)
    for view in VIEWS:
        defined = store.get_feature_view(view.name)
        assert {field.name: field.description for field in defined.features} == {c.name: c.doc for c in view.columns}
        assert (defined.ttl, defined.join_keys) == (view.ttl, [view.entity])


def test_each_model_version_has_a_feature_service_of_its_own(lake: Lake) -> None:
    store = open_feature_store(lake.settings)
    register_model_version(store, "agents@v1", "agents_v1")
    register_model_version(store, "agents@v2", "agents_v2")
    services: dict[str, Any] = {service.name: service for service in store.list_feature_services()}
    assert services.keys() == {"agents_v1", "agents_v2", "agents@v1", "agents@v2"}
    assert [p.name for p in services["agents@v1"].feature_view_projections] == [USER_FEATURES.name, AGENT_FEATURES.name]
    assert [p.name for p in services["agents@v2"].feature_view_projections] == [view.name for view in VIEWS]
    with pytest.raises(UnknownName, match="did you mean 'agents_v2'"):
        register_model_version(store, "agents@v3", "agents_v3")


def test_online_features_training_rows_and_predictions_have_the_same_fields() -> None:
    names = [name for view in VIEWS for name in view.joined.values()]
    assert [field.name for field in fields(OnlineFeatures)] == names == list(JoinedFeatures.to_schema().columns)

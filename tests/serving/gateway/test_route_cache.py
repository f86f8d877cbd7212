"""A gateway follows the ledger and its key file, and a part that cannot be read does not block the others."""

import json
from pathlib import Path

import pytest

import serving.gateway.route_cache
from errors import PeerError
from lake.lake import Lake
from models.registry.fold import read_state
from serving.gateway.auth import key_digest, make_key
from serving.gateway.metrics import GatewayMetrics
from serving.gateway.route_cache import RouteCache
from serving.rollout.manual import plan_rollback, roll_back
from serving.routing import routes
from tests.serving.ledgers import begin, promote, versions
from tests.world.world import SPEC, lake_with_tiny


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return lake_with_tiny(tmp_path)


def refreshed(lake: Lake, keys: Path | None = None) -> RouteCache:
    cache = RouteCache(lake.settings.model_copy(update={"keys": str(keys or "")}), GatewayMetrics())
    cache.refresh()
    return cache


def unreadable_model(lake: Lake) -> None:
    entry = {"version": 1, "path": "ml/models/other/v1", "digest": "0" * 64, "manifest": "1" * 64}
    lake.ledger.append("models/other", "registered", "registered:1", entry)


def take_back_by_hand(lake: Lake) -> None:
    roll_back(lake, plan_rollback(lake, SPEC.name), reason="x", by="ana")


def test_a_missing_manifest_of_one_model_does_not_block_the_roll_back_of_another(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving.gateway.route_cache, "LIST_INTERVAL_S", 0.0)
    versions(lake, 1)
    begin(lake, 1, share=0.5)
    running = refreshed(lake)
    assert running.routes[SPEC.name].share == 0.5
    unreadable_model(lake)
    take_back_by_hand(lake)
    running.refresh()
    assert running.routes[SPEC.name].share == 0.0
    started_later = refreshed(lake)
    assert (started_later.loaded, set(started_later.routes)) == (True, {SPEC.name})


def test_a_roll_back_can_return_to_a_version_whose_manifest_is_missing(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions(lake, 2)
    for number, baseline in ((1, "base"), (2, "agents@v1")):
        begin(lake, number, baseline, share=0.5)
        promote(lake, number, baseline)
    monkeypatch.setattr(routes, "_SPECS", {})
    running = refreshed(lake)
    first = read_state(lake.ledger, SPEC.name).versions[0]
    lake.store.write(f"{first.path}/manifest.json", b"{}")
    take_back_by_hand(lake)
    running.refresh()
    assert running.routes[SPEC.name].stable == first
    assert refreshed(lake).loaded is False  # it cannot know which agents that version answers for


def test_a_gateway_that_starts_while_the_store_fails_is_not_ready_with_only_some_of_the_routes(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing_for_writer(lake: Lake, name: str, before: routes.Route | None) -> routes.Route:
        if name == "writer":
            raise PeerError("unavailable")
        return routes.route_of(lake, name, before)

    versions(lake, 1)
    lake.ledger.append("models/writer", "retraining_opened", "opened:1", {})
    with monkeypatch.context() as store:
        store.setattr(serving.gateway.route_cache, "route_of", failing_for_writer)
        starting = refreshed(lake)
        assert (starting.loaded, starting.routes) == (False, {})
    starting.refresh()
    assert (starting.loaded, set(starting.routes)) == (True, {SPEC.name, "writer"})


def test_a_removed_key_is_refused_while_the_store_is_unavailable(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unavailable(*_: object) -> None:
        raise PeerError("unavailable")

    versions(lake, 1)
    key, file = make_key(), tmp_path / "keys.json"
    file.write_text(json.dumps({key_digest(key): "jamie"}))
    running = refreshed(lake, file)
    assert running.keys is not None
    assert running.keys.agent_of(key) == "jamie"
    monkeypatch.setattr(serving.gateway.route_cache, "route_of", unavailable)
    file.write_text("{}")
    running.refresh()
    assert running.keys.agent_of(key) is None


def test_a_route_that_can_be_read_is_updated_although_others_cannot(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unavailable(*_: object) -> None:
        raise PeerError("unavailable")

    def only_agents(lake: Lake, name: str, before: routes.Route | None) -> routes.Route:
        if name != SPEC.name:
            raise PeerError("unavailable")
        return routes.route_of(lake, name, before)

    monkeypatch.setattr(serving.gateway.route_cache, "LIST_INTERVAL_S", 0.0)
    versions(lake, 1)
    begin(lake, 1, share=0.5)
    running = refreshed(lake)
    unreadable_model(lake)
    running.refresh()
    monkeypatch.setattr(serving.gateway.route_cache, "model_names", unavailable)
    monkeypatch.setattr(serving.gateway.route_cache, "route_of", only_agents)
    take_back_by_hand(lake)
    running.refresh()
    assert running.routes[SPEC.name].share == 0.0

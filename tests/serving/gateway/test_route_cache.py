"""A gateway follows the ledger and its keys, and what cannot be read stands in the way of nothing else."""

import json
from pathlib import Path

import pytest

import serving.gateway.route_cache
from errors import PeerError
from lake.lake import Lake
from models.registry.fold import read_state
from serving.gateway.auth import digest, make_key
from serving.gateway.metrics import Metrics
from serving.gateway.route_cache import Following
from serving.rollout.manual import plan_take_back, take_back
from serving.routing import routes
from tests.serving.ledgers import begin, promote, versions
from tests.world.world import SPEC, lake_with_tiny


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return lake_with_tiny(tmp_path)


def following(lake: Lake, keys: Path | None = None) -> Following:
    made = Following(lake.settings.model_copy(update={"keys": str(keys or "")}), Metrics())
    made.look()
    return made


def unreadable_model(lake: Lake) -> None:
    entry = {"version": 1, "path": "ml/models/other/v1", "digest": "0" * 64, "manifest": "1" * 64}
    lake.ledger.append("models/other", "registered", "registered:1", entry)


def take_back_by_hand(lake: Lake) -> None:
    take_back(lake, plan_take_back(lake, SPEC.name), reason="x", by="ana")


def test_a_model_whose_manifest_is_gone_keeps_no_other_model_from_its_roll_back(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving.gateway.route_cache, "LIST_S", 0.0)
    versions(lake, 1)
    begin(lake, 1, share=0.5)
    running = following(lake)
    assert running.routes[SPEC.name].share == 0.5
    unreadable_model(lake)
    take_back_by_hand(lake)
    running.look()
    assert running.routes[SPEC.name].share == 0.0
    late = following(lake)
    assert (late.known, set(late.routes)) == (True, {SPEC.name})


def test_a_roll_back_leads_to_a_version_whose_manifest_is_gone(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    versions(lake, 2)
    for number, baseline in ((1, "base"), (2, "agents@v1")):
        begin(lake, number, baseline, share=0.5)
        promote(lake, number, baseline)
    monkeypatch.setattr(routes, "_SPECS", {})
    running = following(lake)
    first = read_state(lake.ledger, SPEC.name).versions[0]
    lake.store.write(f"{first.path}/manifest.json", b"{}")
    take_back_by_hand(lake)
    running.look()
    assert running.routes[SPEC.name].stable == first
    assert following(lake).known is False  # it cannot know whom that version answers


def test_a_gateway_that_starts_while_the_store_fades_is_not_ready_on_some_of_the_routes(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fading(lake: Lake, name: str, before: routes.Route | None) -> routes.Route:
        if name == "writer":
            raise PeerError("away")
        return routes.route_of(lake, name, before)

    versions(lake, 1)
    lake.ledger.append("models/writer", "retraining_opened", "opened:1", {})
    with monkeypatch.context() as store:
        store.setattr(serving.gateway.route_cache, "route_of", fading)
        starting = following(lake)
        assert (starting.known, starting.routes) == (False, {})
    starting.look()
    assert (starting.known, set(starting.routes)) == (True, {SPEC.name, "writer"})


def test_a_key_that_is_taken_out_is_refused_while_the_store_is_away(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise PeerError("away")

    versions(lake, 1)
    key, file = make_key(), tmp_path / "keys.json"
    file.write_text(json.dumps({digest(key): "jamie"}))
    running = following(lake, file)
    assert running.keys is not None
    assert running.keys.agent_of(key) == "jamie"
    monkeypatch.setattr(serving.gateway.route_cache, "route_of", away)
    file.write_text("{}")
    running.look()
    assert running.keys.agent_of(key) is None


def test_what_the_store_does_not_give_keeps_no_route_that_it_gives(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> None:
        raise PeerError("away")

    def only_agents(lake: Lake, name: str, before: routes.Route | None) -> routes.Route:
        if name != SPEC.name:
            raise PeerError("away")
        return routes.route_of(lake, name, before)

    monkeypatch.setattr(serving.gateway.route_cache, "LIST_S", 0.0)
    versions(lake, 1)
    begin(lake, 1, share=0.5)
    running = following(lake)
    unreadable_model(lake)
    running.look()
    monkeypatch.setattr(serving.gateway.route_cache, "read_models", away)
    monkeypatch.setattr(serving.gateway.route_cache, "route_of", only_agents)
    take_back_by_hand(lake)
    running.look()
    assert running.routes[SPEC.name].share == 0.0

"""Who answers is what the ledger says: every entry moves the route, and nothing else does."""

from collections import Counter
from pathlib import Path

import pytest

from errors import UnknownName
from lake.lake import Lake
from serving.rollout.manual import plan_take_back, take_back
from serving.routing.routes import Route, for_agent, read_routes
from tests.serving.ledgers import begin, promote, versions, write
from tests.world.world import SPEC, lake_with_tiny


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return lake_with_tiny(tmp_path)


def route(lake: Lake) -> Route:
    return read_routes(lake)[SPEC.name]


def test_a_model_without_a_promotion_is_answered_by_the_base(lake: Lake) -> None:
    versions(lake, 1)
    assert route(lake).choose("user:ana").adapter == "base"
    begin(lake, 1)
    assert route(lake).choose("user:ana").rollout is None


def test_a_share_sends_some_users_to_the_candidate_and_each_of_them_every_time(lake: Lake) -> None:
    candidate = versions(lake, 1)[0]
    key = begin(lake, 1, share=0.1)
    ways = {f"user:{i}": route(lake).choose(f"user:{i}") for i in range(500)}
    assert Counter(way.arm for way in ways.values())["candidate"] == pytest.approx(50, abs=25)
    assert {way.adapter for way in ways.values()} == {"base", candidate.adapter_name}
    assert all(route(lake).choose(who) == way for who, way in list(ways.items())[:20])
    write(lake, "canary_widened", version=1, baseline="base", rollout=key, share=0.5, reason="more")
    after = {who: route(lake).choose(who).arm for who in ways}
    assert all(after[who] == "candidate" for who, way in ways.items() if way.arm == "candidate")


def test_a_promoted_version_answers_all_but_those_held_back_until_the_watch_is_over(lake: Lake) -> None:
    candidate = versions(lake, 1)[0]
    key = begin(lake, 1, share=0.5)
    met = [f"user:{i}" for i in range(200) if route(lake).choose(f"user:{i}").arm == "candidate"]
    promote(lake, 1, "base", soak={"rollout": key, "share": 0.9, "hours": 24.0})
    watched = route(lake)
    assert (watched.stable, watched.candidate, watched.share, watched.rollout) == (None, candidate, 0.9, key)
    assert all(watched.choose(who).arm == "candidate" for who in met)
    write(lake, "soak_ended", version=1, baseline="base", rollout=key)
    assert route(lake).choose("user:anybody").adapter == candidate.adapter_name


def test_a_roll_back_by_hand_takes_everybody_back_with_one_entry(lake: Lake) -> None:
    versions(lake, 2)
    begin(lake, 1, share=0.5)
    promote(lake, 1, "base")
    begin(lake, 2, "agents@v1", share=0.5)
    planned = plan_take_back(lake, SPEC.name)
    assert (planned.left, planned.back_to) == ("agents@v2", "agents@v1")
    before = len(lake.ledger.entries("models/agents"))
    for _ in range(2):
        take_back(lake, planned, reason="tone", by="ana")
    assert len(lake.ledger.entries("models/agents")) == before + 1
    assert (route(lake).rollout, route(lake).share) == ("", 0.0)
    assert route(lake).stable is not None
    assert route(lake).stable.name == "agents@v1"  # type: ignore[union-attr]


def test_two_people_who_take_a_promotion_back_at_once_go_back_one_version(lake: Lake) -> None:
    versions(lake, 2)
    for number, baseline in ((1, "base"), (2, "agents@v1")):
        begin(lake, number, baseline, share=0.5)
        promote(lake, number, baseline)
    both = [plan_take_back(lake, SPEC.name) for _ in range(2)]
    for planned in both:
        take_back(lake, planned, reason="wrong language", by="ana")
    assert route(lake).stable.name == "agents@v1"  # type: ignore[union-attr]
    take_back(lake, plan_take_back(lake, SPEC.name), reason="further", by="ana")
    assert route(lake).stable is None


def test_an_agent_is_answered_by_the_model_that_names_it_else_by_the_one_for_all() -> None:
    routes = {"agents": Route(model="agents"), "jamie": Route(model="jamie", agents=("jamie",))}
    assert for_agent(routes, "jamie").model == "jamie"
    assert for_agent(routes, "bruno").model == "agents"
    with pytest.raises(UnknownName, match="bruno"):
        for_agent({"jamie": routes["jamie"]}, "bruno")
